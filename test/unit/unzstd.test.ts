/** Zstd undone, in whatever pieces it comes: all of it, or an error that says what is wrong. */
import { constants, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { MAX_TINY_MEMBERS } from '../../src/shared/bulk/gunzip.ts';
import { unzstd, ZstdError, type ZstdProblem } from '../../src/shared/bulk/unzstd.ts';
import { inPieces } from '../support/inputs/pieces.ts';

const text = Buffer.from(Array.from({ length: 3000 }, (_, i) => `line ${(i * 7919) % 1009}\n`).join(''));
// With a checksum, as the zstd command writes.
const whole = zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
/** A frame that decoders skip, as pzstd writes. */
const skippable = Buffer.from('502a4d180400000001020304', 'hex');

async function unpack(bytes: Buffer, size: number): Promise<Buffer | ZstdProblem> {
  const pieces: Buffer[] = [];
  try {
    for await (const piece of unzstd(inPieces(bytes, [size]))) pieces.push(piece);
  } catch (error) {
    if (error instanceof ZstdError) return error.problem;
    throw error;
  }
  return Buffer.concat(pieces);
}

// `whole.length`: a piece ends where a frame does.
describe.each([1, 7, 1000, whole.length, 1 << 20])('in pieces of %i bytes', (size) => {
  test.each<[string, Buffer, Buffer]>([
    ['one frame', whole, text],
    ['two frames', Buffer.concat([whole, whole]), Buffer.concat([text, text])],
    ['an empty frame among others', Buffer.concat([zstdCompressSync(''), whole]), text],
    ['frames to skip', Buffer.concat([skippable, whole, skippable, whole]), Buffer.concat([text, text])],
  ])('%s', async (_, bytes, expected) => {
    const unpacked = await unpack(bytes, size);
    expect(Buffer.isBuffer(unpacked) && unpacked.equals(expected)).toBe(true);
  });

  test.each<[string, Buffer, ZstdProblem]>([
    ['a line feed behind it', Buffer.concat([whole, Buffer.from('\n')]), 'trailing'],
    ['text behind it', Buffer.concat([whole, Buffer.from('{"text":"a"}\n')]), 'trailing'],
    ['cut within the data', whole.subarray(0, -20), 'cut'],
    ['cut within the header', whole.subarray(0, 5), 'cut'],
    ['a second frame that is cut', Buffer.concat([whole, whole.subarray(0, -20)]), 'cut'],
    ['nothing', Buffer.alloc(0), 'cut'],
    ['no zstd', Buffer.from('{"text":"a lovely film"}\n'), 'damaged'],
    ['a byte changed', Buffer.from(whole.map((byte, i) => (i === 40 ? byte ^ 0xff : byte))), 'damaged'],
  ])('%s', async (_, bytes, problem) => {
    expect(await unpack(bytes, size)).toBe(problem);
  });
});

test('a window beyond 128 MB is refused before its memory is taken', async () => {
  // A frame header without a content size, and with a window of 2 GB.
  const header = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 0x8c, 0, 0, 0x48]);
  expect(await unpack(Buffer.concat([header, Buffer.alloc(100)]), 1000)).toBe('window');
});

test('tiny frames are limited', async () => {
  const frames = (count: number) => Buffer.concat(new Array<Buffer>(count).fill(zstdCompressSync('')));
  expect(await unpack(frames(MAX_TINY_MEMBERS), 1 << 16)).toEqual(Buffer.alloc(0));
  expect(await unpack(frames(2 * MAX_TINY_MEMBERS), 1 << 16)).toBe('frames');
});
