/** Gzip undone, in whatever pieces it comes: all of it, or an error that says what is wrong. */
import { gzipSync, constants } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { gunzip, GzipError, type GzipProblem } from '../../src/shared/bulk/gunzip.ts';

const text = Buffer.from('a line of text\n'.repeat(3000));
const whole = gzipSync(text);

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
  await Promise.resolve();
}

async function unzip(bytes: Buffer, size: number): Promise<Buffer | GzipProblem> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of gunzip(inPieces(bytes, size))) pieces.push(piece);
  } catch (error) {
    if (error instanceof GzipError) return error.problem;
    throw error;
  }
  return Buffer.concat(pieces);
}

/** A member with everything that a header can have. */
function withLongHeader(): Buffer {
  const flags = 2 + 4 + 8 + 16;
  const header = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3]),
    Buffer.from([3, 0, 1, 2, 3]),
    Buffer.from('reviews.jsonl\0a comment\0'),
    Buffer.from([0, 0]),
  ]);
  return Buffer.concat([header, whole.subarray(10)]);
}

const changed = (at: number): Buffer => {
  const bytes = Buffer.from(whole);
  const index = at < 0 ? bytes.length + at : at;
  bytes[index] = bytes[index]! ^ 0xff;
  return bytes;
};

describe.each([1, 7, 1000, 1 << 20])('in pieces of %i bytes', (size) => {
  test.each<[string, Buffer, Buffer]>([
    ['one member', whole, text],
    ['two members', Buffer.concat([whole, whole]), Buffer.concat([text, text])],
    ['an empty member among others', Buffer.concat([gzipSync(''), whole]), text],
    ['zeros for padding', Buffer.concat([whole, Buffer.alloc(1000)]), text],
    ['a header with all of its parts', withLongHeader(), text],
    ['stored, not compressed', gzipSync(text, { level: constants.Z_NO_COMPRESSION }), text],
  ])('%s', async (_, bytes, expected) => {
    const unzipped = await unzip(bytes, size);
    expect(Buffer.isBuffer(unzipped) && unzipped.equals(expected)).toBe(true);
  });

  test.each<[string, Buffer, GzipProblem]>([
    ['a line feed behind it', Buffer.concat([whole, Buffer.from('\n')]), 'trailing'],
    ['text behind it', Buffer.concat([whole, Buffer.from('{"text":"a"}\n')]), 'trailing'],
    ['the first byte of another member behind it', Buffer.concat([whole, whole.subarray(0, 1)]), 'trailing'],
    ['a hole of zeros', Buffer.concat([whole, Buffer.alloc(512), whole]), 'hole'],
    ['cut within the data', whole.subarray(0, -20), 'cut'],
    ['cut within the trailer', whole.subarray(0, -3), 'cut'],
    ['cut within the header', whole.subarray(0, 5), 'cut'],
    ['a second member that is cut', Buffer.concat([whole, whole.subarray(0, -20)]), 'cut'],
    ['no gzip', Buffer.from('{"text":"a lovely film"}\n'), 'damaged'],
    ['another length', changed(-1), 'damaged'],
    ['another checksum', changed(-6), 'damaged'],
    ['nothing', Buffer.alloc(0), 'cut'],
  ])('%s', async (_, bytes, problem) => {
    expect(await unzip(bytes, size)).toBe(problem);
  });
});

test('an error of the source is thrown as it is', async () => {
  async function* broken() {
    yield whole.subarray(0, 50);
    await Promise.resolve();
    throw new Error('the disk is gone');
  }
  const reading = async () => {
    for await (const _ of gunzip(broken()));
  };
  await expect(reading()).rejects.toThrow('the disk is gone');
});
