/** Exports of the client for Node, Deno and Bun only: files. */
import { createReadStream } from 'node:fs';
import { peek, ungzip } from '../shared/bulk/byte-stream.ts';
import { formatByName } from '../shared/bulk/file-formats.ts';
import { gunzip, GzipError } from '../shared/bulk/gunzip.ts';
import { beginsLikeZstd, unzstd, ZstdError } from '../shared/bulk/unzstd.ts';
import type { FormattedBytes } from './batch-input.ts';
import { badGzip, badZstd } from './bytes.ts';

/**
 * The bytes of a file for a batch, compressed with gzip (of several members, too), zstd (from Node 22.15 on), or not; .jsonl, .ndjson, .csv, .tsv and .txt say their
 * format.
 */
export function fromFile(path: string): FormattedBytes {
  return { ...formatByName(path), [Symbol.asyncIterator]: () => decoded(path) };
}

async function* decoded(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = createReadStream(path);
  try {
    const { head, stream: stored } = await peek(stream as AsyncIterable<Uint8Array>, 4);
    yield* beginsLikeZstd(head) ? unpackZstd(stored) : ungzip(stored, unzip);
  } finally {
    stream.destroy();
  }
}

async function* unzip(compressed: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* gunzip(compressed);
  } catch (error) {
    throw error instanceof GzipError ? badGzip(error.message, error) : error;
  }
}

async function* unpackZstd(
  compressed: AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* unzstd(compressed);
  } catch (error) {
    throw error instanceof ZstdError ? badZstd(error.message, error) : error;
  }
}
