/** Feeds a decoder of Node's zlib until its data ends, and returns the bytes after them to the input. */
import type { Transform } from 'node:stream';
import type { ByteReader } from './byte-reader.ts';

/** A stream of node:zlib. */
export type Decoder = Transform & { readonly bytesWritten: number };

/** @param decoder ends its output by itself once its data ends within the bytes it was given */
export async function feedDecoder(input: ByteReader, decoder: Decoder): Promise<void> {
  const end = new Promise<undefined>((resolve) => {
    decoder.once('end', () => resolve(undefined));
    decoder.once('close', () => resolve(undefined));
  });
  for (;;) {
    const bytes = await Promise.race([input.next(), end]);
    if (bytes === undefined) {
      decoder.end();
      return;
    }
    const before = decoder.bytesWritten;
    // When the data ends within these bytes, the write callback is never called.
    await Promise.race([write(decoder, bytes), end]);
    const taken = decoder.bytesWritten - before;
    if (taken < bytes.length) {
      input.giveBack(bytes.subarray(taken));
      return;
    }
  }
}

/** Writes bytes to the decoder, and waits until they are processed. */
function write(decoder: Decoder, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    decoder.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
