/** Exports of the client for Node, Deno and Bun only: files. */
import { createReadStream } from 'node:fs';
import { ungzip } from '../shared/bulk/byte-stream.ts';
import { formatByName } from '../shared/bulk/file-formats.ts';
import { gunzip, GzipError } from '../shared/bulk/gunzip.ts';
import type { FormattedBytes } from './batch-input.ts';
import { badGzip } from './bytes.ts';

/**
 * The bytes of a file for a batch, gzipped (of several members, too) or not; .jsonl, .ndjson, .csv, .tsv and .txt say their
 * format.
 */
export function fromFile(path: string): FormattedBytes {
  return { ...formatByName(path), [Symbol.asyncIterator]: () => decoded(path) };
}

async function* decoded(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = createReadStream(path);
  try {
    yield* ungzip(stream as AsyncIterable<Uint8Array>, unzip);
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
