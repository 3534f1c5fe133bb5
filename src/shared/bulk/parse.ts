/**
 * Reads one chunk of a bulk upload: one row per record, in order, each when it is asked for. Whatever is wrong with a record is an error in its
 * place, and its neighbours are not affected; nothing in the bytes makes this throw.
 */
import { isUtf8 } from 'node:buffer';
import { countCodePoints, textProblem } from '../text.ts';
import { csvFields } from './csv.ts';
import type { InputRow, InputSpec, RecordError, RecordErrorCode } from './input.ts';
import { content, readMarker, recordScanner, type TooLong } from './records.ts';

export interface ParseLimits {
  maxTextChars: number;
  maxIdChars: number;
}

/** `bytes`, `firstLine` and, for CSV, `input.columns` are those of an InputChunk. */
export function* parseChunk(
  bytes: Uint8Array,
  input: InputSpec,
  firstLine: number,
  limits: ParseLimits,
): Generator<InputRow, void, undefined> {
  const readFields = fieldReader(input);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const scanner = recordScanner(input);
  let line = firstLine;
  for (let from = 0; from < buffer.length;) {
    const found = scanner.scan(buffer, from);
    const end = found === -1 ? buffer.length : found;
    const stored = buffer.subarray(from, end);
    const record = content(stored);
    const lineFeeds = scanner.takeLineFeeds();
    const marker = readMarker(stored);
    if (marker) yield { line, ...tooLong(marker, line) };
    else if (record.length > 0) yield { line, ...readRow(record, readFields, input, limits) };
    line += marker?.lineFeeds ?? lineFeeds;
    from = end;
  }
}

type Row = { id?: string } & ({ text: string } | { error: RecordError });

function readRow(record: Buffer, readFields: FieldReader, input: InputSpec, limits: ParseLimits): Row {
  if (!isUtf8(record)) return refused('invalid_encoding', 'the record is not valid UTF-8');
  const fields = readFields(record);
  if ('problem' in fields) return refused('invalid_record', `the record ${fields.problem}`);

  const id = readId(fields.id, limits.maxIdChars);
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

/** Numbers are common as ids and become strings, as everything behind this has strings. Null is no id. */
function readId(value: unknown, maxChars: number): { id?: string } | { problem: string } {
  if (value === undefined || value === null) return {};
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return { problem: 'is too large a number' };
    // Two ids could become one.
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
      return { problem: 'is an integer beyond 2^53, which is rounded when JSON is read; make it a string' };
    }
    return { id: String(value) };
  }
  if (typeof value !== 'string') return { problem: 'is neither a string nor a number' };
  if (value === '') return { problem: 'is empty' };
  if (!value.isWellFormed() || value.includes('\0')) {
    return { problem: 'contains a NUL or a lone surrogate' };
  }
  if (value.length > maxChars && countCodePoints(value) > maxChars) {
    return { problem: `has more than ${maxChars} characters` };
  }
  return { id: value };
}

function tooLong({ lineFeeds, maxBytes }: TooLong, line: number): { error: RecordError } {
  const reach = lineFeeds > 1 ? ` and goes on to line ${line + lineFeeds - 1}; is a quote missing?` : '';
  return refused('record_too_long', `the record is longer than ${maxBytes} bytes${reach}`);
}

type FieldReader = (record: Buffer) => { text: unknown; id?: unknown } | { problem: string };

function fieldReader({ format, textField, idField = 'id', delimiter, columns }: InputSpec): FieldReader {
  if (format === 'lines') return (record) => ({ text: record.toString() });
  if (format === 'ndjson') {
    return (record) => {
      let value: unknown;
      try {
        value = JSON.parse(record.toString());
      } catch {
        // The message of the error quotes the input.
        return { problem: 'is not valid JSON' };
      }
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        return { problem: 'is not a JSON object' };
      }
      const fields = new Map(Object.entries(value));
      return { text: fields.get(textField), id: fields.get(idField) };
    };
  }
  if (columns === undefined) throw new Error('CSV cannot be read without the columns of its header');
  const textIndex = columns.indexOf(textField);
  const idIndex = columns.indexOf(idField);
  return (record) => {
    const fields = csvFields(record, delimiter);
    if ('problem' in fields) return fields;
    if (fields.length !== columns.length) {
      return { problem: `has ${fields.length} fields, but the header has ${columns.length}` };
    }
    // CSV has no null: an empty field is how a record goes without an id.
    return { text: fields[textIndex], id: fields[idIndex] === '' ? undefined : fields[idIndex] };
  };
}
