/**
 * The fields of one CSV record, and the header. csv-parse gets one record at a time: a bad one is then on its own, and its
 * error cannot move the ends of the others. That takes 15 to 20 µs a record of 100 bytes, a whole chunk at once 5 to 8
 * (Node 24): little beside a model's milliseconds. The splitter cannot afford either; its scanner (records.ts) takes 0.4.
 */
import { isUtf8 } from 'node:buffer';
import { CsvError, parse } from 'csv-parse/sync';
import { InputError, type InputSpec } from './input.ts';

/** The fields, or what is wrong. `record` is valid UTF-8 without its line ending. */
export function csvFields(record: Buffer, delimiter = ','): string[] | { problem: string } {
  try {
    const records = parse(record, { delimiter, record_delimiter: '\n' });
    const [fields] = records;
    if (fields !== undefined && records.length === 1) return fields;
  } catch (error) {
    const problem = error instanceof CsvError ? PROBLEMS[error.code] : undefined;
    if (problem !== undefined) return { problem };
  }
  return { problem: 'is not valid CSV' };
}

// csv-parse's own messages quote the input.
const PROBLEMS: Partial<Record<CsvError['code'] | 'INVALID_OPENING_QUOTE', string>> = {
  CSV_QUOTE_NOT_CLOSED: 'has a quoted field that is not closed',
  CSV_INVALID_CLOSING_QUOTE:
    'has a quoted field that goes on after its closing quote (a quote inside must be doubled)',
  INVALID_OPENING_QUOTE: 'has a quote inside an unquoted field (quote the field and double the quote)',
};

/** The names of the columns. */
export function readHeader(header: Buffer, input: InputSpec): string[] {
  if (!isUtf8(header)) throw new InputError('the header is not valid UTF-8');
  const columns = csvFields(header, input.delimiter);
  if ('problem' in columns) throw new InputError(`the header ${columns.problem}`);
  requireColumns(columns, input);
  return columns;
}

/** Throws when a column that is asked for is missing, or is there twice. */
export function requireColumns(columns: readonly string[], { textField, idField }: InputSpec): void {
  for (const [role, name] of [
    ['text', textField],
    ['id', idField],
  ] as const) {
    if (name === undefined) continue;
    const times = columns.filter((column) => column === name).length;
    if (times === 1) continue;
    const fault = times === 0 ? 'is not in the header' : 'is more than once in the header';
    throw new InputError(`${role} column "${name}" ${fault}: ${listed(columns)}`);
  }
}

/** A header that is none, but the first of many texts, must not become an answer of a megabyte. */
function listed(columns: readonly string[]): string {
  const names = columns.slice(0, 20).map((name) => (name.length > 40 ? `${name.slice(0, 40)}…` : name));
  return names.join(', ') + (columns.length > names.length ? ', …' : '');
}
