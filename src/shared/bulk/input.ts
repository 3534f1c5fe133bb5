/**
 * Types of batch input: a file with one text per record, as NDJSON, CSV or plain lines, in UTF-8.
 *
 * Two modules read it. `split.ts` runs in the API while an upload streams in and only looks for the ends of records, so that chunks
 * of whole records are stored byte for byte. `parse.ts` runs in a worker, on one chunk, and reads the fields.
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
  /** Name of the field or column with the caller's id. Unset: `id`, if it exists. */
  idField?: string | undefined;
  /** CSV: a tab or one printable ASCII character; a comma when unset. */
  delimiter?: string | undefined;
  /** CSV: `"` when unset, as in batches of earlier versions. */
  quote?: QuoteMode | undefined;
  /** CSV: when unset, `splitRecords` reads it from the first record; `parseChunk` requires it. */
  header?: CsvHeader | undefined;
}

/** `message` is for the caller and never contains the text. */
export interface RecordError {
  code: RecordErrorCode;
  message: string;
}

/** One record; `line` is its first physical line, counted from 1. */
export type InputRow = { line: number; id?: string } & ({ text: string } | { error: RecordError });

/** The whole file cannot be read as requested. */
export class InputError extends AppError {
  constructor(detail: string) {
    super('invalid_request', detail);
    this.name = 'InputError';
  }
}
