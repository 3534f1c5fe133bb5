/**
 * Parses one chunk of a batch's input lazily: one row per record, in order. A malformed record becomes an error in its place and does
 * not affect its neighbours; no input makes this throw.
 */
import { isUtf8 } from 'node:buffer';
import { numberLoss } from '../contract/exact-number.ts';
import { textProblem, tooManyChars } from '../contract/text.ts';
import { csvFields, repeatsHeader, type CsvProblem } from './csv.ts';
import type { InputRow, InputSpec, RecordError } from './input.ts';
import type { RecordErrorCode } from '../contract/problems.ts';
import { jsonProblem } from './json-problem.ts';
import { content, isEmptyLine, readMarker, recordScanner, withoutMark, type TooLong } from './records.ts';
import { numberLiteral, repeatFinder } from './written-members.ts';

export interface ParseLimits {
  maxTextChars: number;
  maxIdChars: number;
}

/** `bytes`, `firstLine` and, for CSV, `input.header` are those of an InputChunk. */
export function* parseChunk(
  bytes: Uint8Array,
  input: InputSpec,
  firstLine: number,
  limits: ParseLimits,
): Generator<InputRow, void, undefined> {
  const readFields = fieldReader(input);
  for (const { lines, content: record, tooLong: marker } of chunkRecords(bytes, input, firstLine)) {
    const line = lines.first;
    if (marker) yield { line, ...tooLong(marker, line) };
    else yield { line, ...readRow(record, lines, readFields, input, limits) };
  }
}

/** A record of a chunk as stored. */
export interface StoredRecord {
  lines: Lines;
  /** Without line ending and byte order mark. */
  content: Buffer;
  /** Set when the record was too long, and only this was stored in its place. */
  tooLong?: TooLong | undefined;
}

/** The records of a chunk in their order, one for each row of its results. Parameters as those of parseChunk. */
export function* chunkRecords(
  bytes: Uint8Array,
  input: InputSpec,
  firstLine: number,
): Generator<StoredRecord, void, undefined> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const scanner = recordScanner(input);
  let line = firstLine;
  for (let from = 0; from < buffer.length;) {
    const found = scanner.scan(buffer, from);
    const end = found === -1 ? buffer.length : found;
    const stored = buffer.subarray(from, end);
    const lineFeeds = scanner.takeLineFeeds();
    const marker = readMarker(stored);
    if (marker || !isEmptyLine(stored)) {
      const last = line + lineFeeds - (stored.at(-1) === LF ? 1 : 0);
      yield { lines: { first: line, last }, content: withoutMark(content(stored)), tooLong: marker };
    }
    line += marker?.lineFeeds ?? lineFeeds;
    from = end;
  }
}

type Row = { id?: string } & ({ text: string } | { error: RecordError });

/** First and last line of a record. */
interface Lines {
  first: number;
  last: number;
}

function readRow(
  record: Buffer,
  lines: Lines,
  readFields: FieldReader,
  input: InputSpec,
  limits: ParseLimits,
): Row {
  if (!isUtf8(record)) return refused('invalid_encoding', 'the record is not valid UTF-8');
  const fields = readFields(record);
  if ('problem' in fields) return refused('invalid_record', recordProblem(fields, lines));

  const id = readId(fields, input.idField ?? 'id', limits.maxIdChars);
  if ('problem' in id) return refused('invalid_id', `the id ${id.problem}`);
  const { text } = fields;
  if (typeof text !== 'string') {
    const problem = text === undefined ? 'is missing' : 'is not a string';
    return { ...id, ...refused('invalid_text', `the field "${input.textField}" ${problem}`) };
  }
  const problem = textProblem(text, limits.maxTextChars);
  return { ...id, ...(problem === undefined ? { text } : refused('invalid_text', `the text ${problem}`)) };
}

function refused(code: RecordErrorCode, message: string): { error: RecordError } {
  return { error: { code, message } };
}

/** The error of a record, with all lines that get no label because of it. */
function recordProblem({ problem, openAfter }: CsvProblem, { first, last }: Lines): string {
  if (openAfter === undefined) {
    return first === last
      ? `the record ${problem}`
      : `the record from line ${first} to line ${last} ${problem}`;
  }
  const count = last - first + 1;
  const lines = count === 1 ? 'its line gets no label' : `its ${count} lines get no label`;
  return (
    `a quoted field begins on line ${first + openAfter} and is not closed until the end of the file, line ${last}: ` +
    `${lines}; close the quote, or read the file without quoting (quote=none)`
  );
}

/** Reads an id. Numbers are common and become strings; null means no id. */
function readId(
  { id: value, json }: Fields,
  name: string,
  maxChars: number,
): { id?: string } | { problem: string } {
  if (value === undefined || value === null) return {};
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return { problem: 'is too large a number' };
    // Rounding could make two ids equal.
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
      return {
        problem: `in the field "${name}" is an integer beyond 2^53, which is rounded when JSON is read; make it a string`,
      };
    }
    if (json !== undefined && isRounded(numberLiteral(json, name, value))) {
      return {
        problem: `in the field "${name}" is a number whose last digits are rounded when JSON is read; make it a string`,
      };
    }
    return { id: String(value) };
  }
  if (typeof value !== 'string') return { problem: 'is neither a string nor a number' };
  if (value === '') return { problem: 'is empty' };
  if (!value.isWellFormed() || value.includes('\0')) {
    return { problem: 'contains a NUL or a lone surrogate' };
  }
  if (tooManyChars(value, maxChars) !== undefined) {
    return { problem: `has more than ${maxChars} characters` };
  }
  return { id: value };
}

/** The lost sign of -0 does not count. */
const isRounded = (literal: string): boolean => numberLoss(literal.replace(/^-/, '')) !== undefined;

function tooLong({ lineFeeds, maxBytes }: TooLong, line: number): { error: RecordError } {
  if (lineFeeds <= 1) return refused('record_too_long', `the record is longer than ${maxBytes} bytes`);
  const last = line + lineFeeds - 1;
  return refused(
    'record_too_long',
    `the record is longer than ${maxBytes} bytes and continues to line ${last}; is a quote missing? ` +
      `It begins on line ${line}, and its ${lineFeeds} lines get no label`,
  );
}

interface Fields {
  text: unknown;
  id?: unknown;
  /** The record's JSON, to detect rounded numbers. */
  json?: string;
}
type FieldReader = (record: Buffer) => Fields | CsvProblem;

const LF = 0x0a;
const CR = 0x0d;

function fieldReader(input: InputSpec): FieldReader {
  if (input.format === 'lines') return readLine;
  return input.format === 'ndjson' ? jsonReader(input) : csvReader(input);
}

function readLine(record: Buffer): Fields | CsvProblem {
  // Programs that end lines with CR mean two texts here, of which one would get no label.
  if (record.includes(CR)) {
    return { problem: 'has a carriage return in its middle: do some of the lines end with CR alone?' };
  }
  return { text: record.toString() };
}

function jsonReader({ textField, idField = 'id' }: InputSpec): FieldReader {
  const names = [textField, idField].map((name) => ({ name, isRepeated: repeatFinder(name) }));
  return (record) => {
    const json = record.toString();
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch {
      // The message of the error quotes the input.
      return { problem: jsonProblem(json) };
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return { problem: 'is not a JSON object' };
    }
    const repeated = names.find(({ isRepeated }) => isRepeated(json));
    // JSON.parse keeps only the last: a text or an id would be lost.
    if (repeated) return { problem: `has the field "${repeated.name}" twice` };
    return { text: ownMember(value, textField), id: ownMember(value, idField), json };
  };
}

/** Own members only, not inherited ones such as `toString`. */
const ownMember = (value: object, name: string): unknown =>
  Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;

function csvReader({ textField, delimiter, quote, header }: InputSpec): FieldReader {
  if (header === undefined) throw new Error('CSV cannot be read without its header');
  const { width, text, id } = header;
  const format = { delimiter, quote };
  return (record) => {
    const fields = csvFields(record, format, width);
    if ('problem' in fields) return fields;
    if (fields.length !== width) {
      return { problem: `has ${fields.length} fields, but the header has ${width}` };
    }
    // With one column, a text may equal the column's name.
    if (width > 1 && repeatsHeader(fields, header, textField)) {
      return { problem: 'repeats the header: were two files joined?' };
    }
    // CSV has no null: an empty field means no id.
    return { text: fields[text], id: id === undefined || fields[id] === '' ? undefined : fields[id] };
  };
}
