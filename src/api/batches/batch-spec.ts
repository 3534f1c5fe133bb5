/** The specification of a batch: how its input is read, from the options of the request that creates it. */
import { inputOf, readHeader, toStoredHeader, type HeaderLimits } from '../../shared/bulk/csv.ts';
import { InputError } from '../../shared/bulk/input.ts';
import { sniffBytes } from '../../shared/bulk/sniff-bytes.ts';
import { sniffRecords, type Reading } from '../../shared/bulk/sniff-records.ts';
import { sniff } from '../../shared/bulk/sniff.ts';
import type { BatchSpec } from '../../shared/contract/batches.ts';
import { topKOf } from '../../shared/contract/options.ts';
import { defaultQuote } from '../../shared/contract/quoting.ts';
import type { Webhook } from '../../shared/contract/webhooks.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { invalidRequest } from '../middleware/problems.ts';
import type { CreateBatchQuery } from '../requests.ts';

/** The options of a request that creates a batch. */
export type NewBatch = Omit<CreateBatchQuery, 'open' | 'format' | 'webhook' | 'webhook_events'> & {
  format: BatchSpec['format'];
  webhook: Webhook | undefined;
  idempotencyKey?: string | undefined;
};

const DEFAULT_CHUNK_BYTES = 256 * 1024;
/** Bounds on the chunk size, whatever calibration suggests: each chunk is a blob and a job, and a worker holds it in memory. */
const MIN_CHUNK_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 4 * 1024 * 1024;

/** The specification that is stored with a batch, and the CSV columns that the request names. @throws AppError `invalid_request` for options that contradict each other */
export function toSpec(
  input: NewBatch,
  chunkBytes: number,
  limits: HeaderLimits,
): { spec: BatchSpec; columns?: readonly string[] } {
  const { format, text_field, id_field, delimiter, quote, columns, top_k, metadata, first_line } = input;
  const { threshold, function_to_apply: apply } = input;
  if (format !== 'csv') refuse({ delimiter, quote, columns }, 'applies to CSV only');
  if (format === 'lines')
    refuse({ text_field, id_field }, 'does not apply to plain lines, which have no fields');
  const quoting = quote ?? defaultQuote(delimiter);
  const spec: BatchSpec = {
    format,
    text_field: text_field ?? 'text',
    ...(id_field === undefined ? {} : { id_field }),
    ...(delimiter === undefined ? {} : { delimiter }),
    ...(format !== 'csv' || quoting === '"' ? {} : { quote: quoting }),
    top_k: topKOf(top_k, threshold),
    ...(threshold === undefined ? {} : { threshold }),
    ...(apply === undefined ? {} : { apply }),
    first_line: first_line ?? 1,
    chunk_bytes: chunkBytes,
    ...(metadata === undefined ? {} : { metadata }),
  };
  if (columns === undefined) return { spec };
  const finding = sniffRecords(columns, true, readingOf(spec), ANY_FILE);
  if (finding !== undefined) throw new InputError(`the header ${finding}`);
  const names = readHeader(Buffer.from(columns), inputOf(spec), limits);
  return { spec: { ...spec, ...toStoredHeader(names, inputOf(spec)) }, columns: names };
}

/** @param measured chunk size that the workers' calibration suggests */
export function chunkBytesFor({ BULK_CHUNK_BYTES }: Config, measured = DEFAULT_CHUNK_BYTES): number {
  if (BULK_CHUNK_BYTES > 0) return BULK_CHUNK_BYTES;
  return Math.min(Math.max(measured, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES);
}

export function headerLimits({ MAX_CSV_COLUMNS, MAX_CSV_HEADER_BYTES }: Config): HeaderLimits {
  return { columns: MAX_CSV_COLUMNS, bytes: MAX_CSV_HEADER_BYTES };
}

/** The API does not know the name of the file. */
const ANY_FILE = { gzip: false };

function readingOf(spec: BatchSpec, explicit = true): Reading {
  return {
    format: spec.format,
    delimiter: spec.delimiter,
    textField: spec.text_field,
    explicit,
    option: (name, value) => `${name}=${value === '\t' ? 'tab' : encodeURIComponent(value)}`,
  };
}

interface PartHead {
  head: Uint8Array;
  whole: boolean;
  gzip: boolean;
  formatNamed: boolean | undefined;
}

/** Checks the start of a part. Only the first part has the start of the file, and its header unless the options have it. @returns why the part cannot be read */
export function sniffPart(
  spec: BatchSpec,
  number: number,
  { head, whole, gzip, formatNamed }: PartHead,
): string | undefined {
  const file = { gzip };
  if (number > 1 || (spec.columns ?? spec.header) !== undefined) return sniffBytes(head, whole, file);
  return sniff(head, whole, readingOf(spec, formatNamed ?? true), file);
}

/** @throws AppError `invalid_request` for the first of these options that is given */
function refuse(options: Record<string, unknown>, message: string): void {
  const given = Object.keys(options).find((name) => options[name] !== undefined);
  if (given !== undefined) throw invalidRequest([{ path: given, message }]);
}
