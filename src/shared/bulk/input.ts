/**
 * Input of bulk backfill: a file with one text per record, as NDJSON, CSV or plain lines, in UTF-8.
 *
 * It is read in two halves that never meet. `split.ts` runs in the API while an upload streams in and only looks for the
 * ends of records, so that chunks of whole records can be stored as the bytes they came as. `parse.ts` runs in a worker,
 * on one chunk, and reads the fields. Here is what both need to know.
 */
import type { CsvHeader, inputFormats } from '../contract/batches.ts';
import { AppError, type RecordErrorCode } from '../contract/problems.ts';
import type { QuoteMode } from '../contract/quoting.ts';

export type InputFormat = (typeof inputFormats)[number];

/** How to read a file. `lines` has neither fields nor ids. */
export interface InputSpec {
  format: InputFormat;
  /** Name of the field (NDJSON) or column (CSV) with the text. Other fields are ignored. */
  textField: string;
  /** Name of the field or column with the caller's id. When unset, `id` where there is one. */
  idField?: string | undefined;
  /** CSV: a tab or one printable ASCII character; a comma when unset. */
  delimiter?: string | undefined;
  /** CSV: `"` when unset, as in batches that were made before there was a choice. */
  quote?: QuoteMode | undefined;
  /** CSV: `splitRecords` reads it from the first record when unset, `parseChunk` needs it. */
  header?: CsvHeader | undefined;
}

/** `message` is for the user and never contains the text. */
export interface RecordError {
  code: RecordErrorCode;
  message: string;
}

/** One record; `line` is the physical line it starts on, from 1. */
export type InputRow = { line: number; id?: string } & ({ text: string } | { error: RecordError });

/** Nothing in the file can be read as asked for, so there is no use in reading on. */
export class InputError extends AppError {
  constructor(detail: string) {
    super('invalid_request', detail);
    this.name = 'InputError';
  }
}
