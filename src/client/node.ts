/** What of the client is for Node, Deno and Bun alone: files. */
import { createReadStream } from 'node:fs';
import { gunzip, GzipError } from '../shared/bulk/gunzip.ts';
import type { FormattedBytes } from './batch-input.ts';
import { badGzip, ungzip } from './bytes.ts';
import { formatOf } from './file-name.ts';

/**
 * The bytes of a file for a batch, gzipped (of several members, too) or not; .jsonl, .ndjson, .csv, .tsv and .txt say their
 * format.
 */
export function fromFile(path: string): FormattedBytes {
  return { ...formatOf(path), [Symbol.asyncIterator]: () => decoded(path) };
}

async function* decoded(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = createReadStream(path);
  try {
    yield* await ungzip(stream[Symbol.asyncIterator]() as AsyncGenerator<Uint8Array>, unzip);
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
