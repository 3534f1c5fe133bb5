/**
 * Parses single CSV records, and the header. csv-parse gets one record at a time, so that an error cannot affect other records.
 * That takes 15 to 20 µs per record of 100 bytes, against 5 to 8 for a whole chunk at once (Node 24), so a
 * well-formed record, which has only one reading, is split here in 1, and csv-parse says what is wrong with all others. The splitter can
 * afford neither; its scanner (records.ts) takes 0.4.
 */
import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { CsvError, parse } from 'csv-parse/sync';
import type { BatchSpec, CsvHeader, StoredHeader } from '../contract/batches.ts';
import { listed } from '../contract/text.ts';
import { InputError, type InputSpec } from './input.ts';
import { RecordScanner } from './record-scanner.ts';

type CsvSpec = Pick<InputSpec, 'delimiter' | 'quote'>;

export interface CsvProblem {
  /** Continues a sentence about the record. */
  problem: string;
  /** Set for an unclosed quoted field: number of line feeds in the record before the field. */
  openAfter?: number;
}

/**
 * The fields of a record, or its error.
 * @param record valid UTF-8 without its line ending
 * @param columns number of fields in the header; decides how an ambiguous line is quoted
 */
export function csvFields(
  record: Buffer,
  { delimiter = ',', quote = '"' }: CsvSpec,
  columns?: number,
): string[] | CsvProblem {
  if (quote === '"') return quotedFields(record, delimiter, columns);
  const plain = record.toString().split(delimiter);
  if (quote === 'line' && record.includes(QUOTE)) {
    const fields = quotedFields(record, delimiter, columns);
    if (!('problem' in fields) && (columns === undefined || fields.length === columns)) return fields;
  }
  return joinedByCr(plain, columns) && record.includes(CR) ? { problem: BARE_CR } : plain;
}

/**
 * Whether a record may contain lines that end with CR alone: with several columns such lines show as extra fields, but in a table
 * of one column they would be lost.
 */
const joinedByCr = (fields: readonly string[], columns: number | undefined): boolean =>
  columns === 1 || (columns !== undefined && fields.length !== columns);

function quotedFields(record: Buffer, delimiter: string, columns: number | undefined): string[] | CsvProblem {
  try {
    const wellFormed = wellFormedFields(record.toString(), delimiter);
    const records = wellFormed ? [wellFormed] : parse(record, { delimiter, record_delimiter: '\n' });
    const [fields] = records;
    if (fields !== undefined && records.length === 1) {
      const joined = record.includes(CR) && joinedByCr(fields, columns) && hasBareCr(record);
      return joined ? { problem: BARE_CR } : fields;
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const problem = PROBLEMS[error.code];
    if (error.code === 'CSV_QUOTE_NOT_CLOSED') {
      return { problem: NOT_CLOSED, openAfter: openedAfter(record, delimiter) };
    }
    // C and MySQL escape a quote with a backslash.
    if (problem !== undefined) return { problem: record.includes('\\"') ? BACKSLASH : problem };
  }
  return { problem: 'is not valid CSV' };
}

/** The fields of a record whose quotes are all at the edges of fields, or doubled inside of them; undefined for any other. */
function wellFormedFields(record: string, delimiter: string): string[] | undefined {
  if (record === '') return undefined;
  const fields: string[] = [];
  for (let at = 0; ; at++) {
    if (record[at] === '"') {
      const end = closingQuote(record, at);
      if (end === -1) return undefined;
      fields.push(record.slice(at + 1, end).replaceAll('""', '"'));
      at = end + 1;
      if (at < record.length && record[at] !== delimiter) return undefined;
    } else {
      const end = record.indexOf(delimiter, at);
      const field = end === -1 ? record.slice(at) : record.slice(at, end);
      if (field.includes('"') || field.includes('\n')) return undefined;
      fields.push(field);
      at += field.length;
    }
    if (at === record.length) return fields;
  }
}

function closingQuote(record: string, opening: number): number {
  let at = record.indexOf('"', opening + 1);
  while (at !== -1 && record[at + 1] === '"') at = record.indexOf('"', at + 2);
  return at;
}

const CR = 0x0d;
const QUOTE = 0x22;

const NOT_CLOSED = 'has a quoted field that is not closed';
const BARE_CR = 'has a carriage return outside of quotes: do some of the lines end with CR alone?';
const BACKSLASH = 'has a quote behind a backslash (a quote inside a quoted field must be doubled)';
// csv-parse's own messages quote the input.
const PROBLEMS: Partial<Record<CsvError['code'] | 'INVALID_OPENING_QUOTE', string>> = {
  CSV_QUOTE_NOT_CLOSED: NOT_CLOSED,
  CSV_INVALID_CLOSING_QUOTE:
    'has a quoted field that continues after its closing quote (a quote inside must be doubled)',
  INVALID_OPENING_QUOTE: 'has a quote inside an unquoted field (quote the field and double the quote)',
};

/** Line feeds before the last quoted field, which csv-parse does not report. */
function openedAfter(record: Buffer, delimiter: string): number {
  const scanner = new RecordScanner(delimiter);
  scanner.scan(record, 0);
  return scanner.openedAfter;
}

/** Whether a valid record has a carriage return outside of quotes. */
const hasBareCr = (record: Buffer): boolean =>
  record
    .toString('latin1')
    .replaceAll(/"[^"]*"/g, '')
    .includes('\r');

/** Bounds of a CSV header. */
export interface HeaderLimits {
  columns: number;
  /** Bytes without the line ending. */
  bytes: number;
}

/**
 * Parses a header into column names.
 * @throws InputError when the header exceeds a limit, is malformed, or lacks a requested column
 */
export function readHeader(header: Buffer, input: InputSpec, limits: HeaderLimits): string[] {
  if (header.length > limits.bytes) throw headerTooLong(limits);
  if (!isUtf8(header)) throw new InputError('the header is not valid UTF-8');
  const columns = csvFields(header, input);
  if ('problem' in columns) throw new InputError(`the header ${columns.problem}`);
  if (columns.length > limits.columns) {
    throw new InputError(
      `the header has ${columns.length} columns; at most ${limits.columns} are allowed (MAX_CSV_COLUMNS): ${REDUCE}`,
    );
  }
  requireColumns(columns, input);
  return columns;
}

export function headerTooLong({ bytes }: Pick<HeaderLimits, 'bytes'>): InputError {
  return new InputError(`the header has more than ${bytes} bytes (MAX_CSV_HEADER_BYTES): ${REDUCE}`);
}

const REDUCE = 'keep the columns with text and id, and leave out the others';

/** Column names are stored if their JSON has at most this many bytes. */
const KEPT_NAMES_BYTES = 512;

/** The form of a header that is stored with a batch or part. */
export function toStoredHeader(columns: readonly string[], input: InputSpec): StoredHeader {
  return Buffer.byteLength(JSON.stringify(columns)) <= KEPT_NAMES_BYTES
    ? { columns: [...columns] }
    : { header: toHeader(columns, input) };
}

/** A stored header, if any. Earlier versions stored names of any length. */
export function fromStoredHeader({ columns, header }: StoredHeader, input: InputSpec): CsvHeader | undefined {
  return columns === undefined ? header : toHeader(columns, input);
}

/** How to read the input of a batch. @param stored where its CSV header is stored: in the batch, or in a part */
export function inputOf(spec: BatchSpec, stored: StoredHeader = spec): InputSpec {
  const input = {
    format: spec.format,
    textField: spec.text_field,
    idField: spec.id_field,
    delimiter: spec.delimiter,
    quote: spec.quote,
  };
  return { ...input, header: fromStoredHeader(stored, input) };
}

/** The parts of a header that are needed to read records. */
export function toHeader(
  columns: readonly string[],
  { textField, idField = 'id' }: Pick<InputSpec, 'textField' | 'idField'>,
): CsvHeader {
  const id = columns.indexOf(idField);
  return {
    width: columns.length,
    text: columns.indexOf(textField),
    ...(id === -1 ? {} : { id }),
    digest: digestOf(columns),
  };
}

/** Whether a record repeats the header. */
export function repeatsHeader(fields: readonly string[], header: CsvHeader, textField: string): boolean {
  // Checked before hashing: few records have the name of the text column as their text.
  return fields[header.text] === textField && digestOf(fields) === header.digest;
}

const digestOf = (names: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(names)).digest('hex').slice(0, 16);

/** @throws InputError when a requested column is missing or not unique */
function requireColumns(columns: readonly string[], { textField, idField }: InputSpec): void {
  for (const [role, name] of [
    ['text', textField],
    ['id', idField ?? (columns.includes('id') ? 'id' : undefined)],
  ] as const) {
    if (name === undefined) continue;
    const times = columns.filter((column) => column === name).length;
    if (times === 1) continue;
    const fault = times === 0 ? 'is not in the header' : 'is more than once in the header';
    throw new InputError(`${role} column "${name}" ${fault}: ${listed(columns)}`);
  }
}
