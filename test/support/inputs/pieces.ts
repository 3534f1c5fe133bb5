/** Bytes of an input in pieces, as files and connections deliver them. */

/** @param sizes of the pieces in bytes, over and over; default: one piece */
export async function* inPieces(
  bytes: Buffer,
  sizes: readonly number[] = [bytes.length || 1],
): AsyncGenerator<Buffer> {
  for (let from = 0, i = 0; from < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    yield bytes.subarray(from, from + size);
    from += size;
  }
  await Promise.resolve();
}
