/** Gzip undone, in whatever pieces it comes: all of it, or an error that says what is wrong. */
import { randomBytes } from 'node:crypto';
import { gzipSync, constants } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  gunzip,
  GzipError,
  MAX_TINY_MEMBERS,
  MEMBER_BYTES,
  type GzipProblem,
} from '../../src/shared/bulk/gunzip.ts';
import { inPieces } from '../support/inputs/pieces.ts';

const text = Buffer.from('a line of text\n'.repeat(3000));
const whole = gzipSync(text);

async function unzip(bytes: Buffer, size: number): Promise<Buffer | GzipProblem> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of gunzip(inPieces(bytes, [size]))) pieces.push(piece);
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

test('an error of the source passes unchanged', async () => {
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

describe('many members', () => {
  const tiny = gzipSync('a');
  const members = (count: number, member = tiny) => Buffer.concat(Array<Buffer>(count).fill(member));
  /** As many as there may be of one size: when a member begins, its header of 10 bytes counts. */
  function most(memberBytes: number): number {
    let count = 0;
    while (count + 1 <= MAX_TINY_MEMBERS + (count * memberBytes + 10) / MEMBER_BYTES) count++;
    return count;
  }

  test.each([100, 1 << 20])('tiny ones up to the limit, in pieces of %i bytes', async (size) => {
    const count = most(tiny.length);
    expect(count).toBeGreaterThan(MAX_TINY_MEMBERS);
    const unzipped = await unzip(members(count), size);
    expect(unzipped).toEqual(Buffer.from('a'.repeat(count)));
    expect(await unzip(members(count + 1), size)).toBe('members');
  });

  test('as many as there are of the size that tools write', async () => {
    const member = gzipSync(randomBytes(MEMBER_BYTES));
    const unzipped = await unzip(members(5 * MAX_TINY_MEMBERS, member), 1 << 16);
    expect(unzipped).toHaveLength(5 * MAX_TINY_MEMBERS * MEMBER_BYTES);
  });

  test('the error names a remedy', async () => {
    const reading = async () => {
      for await (const _ of gunzip(inPieces(members(2 * MAX_TINY_MEMBERS), [1 << 16])));
    };
    await expect(reading()).rejects.toThrow(
      'too many tiny gzip members (more than 1000 and one for every 512 bytes): compress it again, with zcat FILE | gzip',
    );
  });

  test('the event loop has turns between them', async () => {
    let turns = 0;
    const count = 500;
    const timer = setInterval(() => turns++, 0);
    await unzip(members(count), 1 << 20);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(10);
  });

  test('a long name in a header costs little more than a short one', async () => {
    const named = (length: number) => {
      const header = Buffer.from(tiny.subarray(0, 10));
      header[3] = 8;
      return Buffer.concat([header, Buffer.alloc(length, 'n'), Buffer.alloc(1), tiny.subarray(10)]);
    };
    const cpu = async (bytes: Buffer) => {
      const before = process.cpuUsage();
      await unzip(bytes, 1 << 16);
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    const short = await cpu(members(200, named(1)));
    // Copied for each of its bytes, it cost five thousand times as much.
    expect(await cpu(members(10, named(60_000)))).toBeLessThan(10 * short);
  });
});
