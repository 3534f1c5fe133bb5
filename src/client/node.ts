/** What of the client is for Node, Deno and Bun alone: files. */
import { createReadStream } from 'node:fs';
import type { FormattedBytes } from './batch-input.ts';
import { formatOf } from './file-name.ts';

/** The bytes of a file for a batch, gzipped or not; .jsonl, .ndjson, .csv, .tsv and .txt say their format. */
export function fromFile(path: string): FormattedBytes {
  return { ...formatOf(path), [Symbol.asyncIterator]: () => createReadStream(path)[Symbol.asyncIterator]() };
}
