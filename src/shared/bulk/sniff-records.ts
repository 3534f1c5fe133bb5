/**
 * Recognises mistakes of a whole text file from its first records, which would otherwise be an error on every line. Runs in browsers
 * too.
 */
import { convert, converted, type SourceFile } from './convert.ts';
import { listed } from '../contract/text.ts';
import { jsonHabit, parsed, parsedObject, type JsonHabit } from './json-problem.ts';

/** How to read a file. */
export interface Reading {
  format: 'ndjson' | 'csv' | 'lines';
  /** CSV: one character. */
  delimiter?: string | undefined;
  textField: string;
  /** The caller named the format; else it comes from the file's name. */
  explicit: boolean;
  /** Spells an option as the reader of the message would: `--delimiter ';'`. */
  option: (name: 'format' | 'delimiter' | 'text_field', value: string) => string;
}

/** Number of lines to examine. */
const SAMPLE = 200;

/**
 * @param text the beginning of the file
 * @param whole whether `text` is the whole file
 * @returns what the file is and what to do about it, continuing a sentence that begins with its name
 */
export function sniffRecords(
  text: string,
  whole: boolean,
  reading: Reading,
  file: SourceFile,
): string | undefined {
  if (!text.includes('\n') && /\r./s.test(text)) {
    const command = convert(file, "tr '\\r' '\\n' <", converted(file, 'lf'));
    return `has lines that end with CR alone, which does not end a record: convert it first: ${command}`;
  }
  const { format, explicit } = reading;
  if (format !== 'lines' || !explicit) {
    if (/^\s*<(?:!doctype\s+html|html|head)\b/i.test(text)) {
      return 'is an HTML page, perhaps one that asks to log in: download the file again';
    }
    if (/^\s*<\?xml\b/i.test(text)) return 'is XML, which is not read: convert it to JSON Lines or CSV';
  }
  const lines = wholeLines(text, whole);
  if (format === 'ndjson') return notJsonLines(text, lines, reading, file);
  if (format === 'csv') return notCsv(text, lines, reading, file);
  if (explicit || lines.length === 0) return undefined;
  if (lines.every(isObject)) {
    return `looks like JSON Lines: use ${reading.option('format', 'ndjson')}, or ${reading.option('format', 'lines')} if each line is a text`;
  }
  return lines[0]?.trim() === '[' && lines[1]?.trim().startsWith('{') === true
    ? array(text, file)
    : undefined;
}

function wholeLines(text: string, whole: boolean): string[] {
  const lines = text.split('\n');
  if (!whole) lines.pop();
  return lines.filter((line) => line.trim() !== '').slice(0, SAMPLE);
}

function notJsonLines(text: string, lines: readonly string[], reading: Reading, file: SourceFile) {
  const [first, second = ''] = lines;
  if (/^\s*\[/.test(text)) {
    if (first !== undefined && parsed(first) !== undefined && second.trimStart().startsWith('[')) {
      const command = convert(file, "jq -c '{text: .[0]}'", converted(file, 'objects'));
      return `has an array on each line, not an object: convert it first: ${command} (if the text comes first)`;
    }
    // An array, unless its line is a record that is wrong in another way.
    if (first === undefined || parsed(first) !== undefined || jsonHabit(first) === 'array')
      return array(text, file);
  }
  const [, member] = WRAPPED.exec(text) ?? [];
  // One document, over several lines or on one; an NDJSON record would have the text beside the array.
  const single = first === undefined || lines.length === 1 || parsed(first) === undefined;
  if (member !== undefined && single && !Object.hasOwn(parsedObject(text) ?? {}, reading.textField)) {
    const command = convert(file, `jq -c '.${member}[]'`, converted(file, 'lines', '.jsonl'));
    return `is one JSON object with its records in the array "${member}": convert it first: ${command}`;
  }
  if (first === undefined) return undefined;
  const habit = jsonHabit(first);
  if (habit !== undefined && habit !== 'not a number') return HABITS[habit](file);
  if (lines.some(isObject)) return undefined;
  if (habit !== undefined) return HABITS[habit](file);
  const csv = DELIMITERS.find((delimiter) => headerOf(text, delimiter).includes(reading.textField));
  const advice =
    csv === undefined
      ? `${reading.option('format', 'csv')} or ${reading.option('format', 'lines')}`
      : [reading.option('format', 'csv'), ...(csv === ',' ? [] : [reading.option('delimiter', csv)])].join(
          ' ',
        );
  return `is not JSON Lines: none of its first ${lines.length} lines is a JSON object; use ${advice}`;
}

/** An object whose first member is an array of objects, as APIs wrap their answers: `{"data": [{`. */
const WRAPPED = /^\s*\{\s*"([A-Za-z_]\w{0,63})"\s*:\s*\[\s*\{/;

const PYTHON = 'import ast,json,sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]';
const NO_NAN =
  'import json,sys; [print(json.dumps(json.loads(line, parse_constant=lambda _: None))) for line in sys.stdin]';

const HABITS: Record<JsonHabit, (file: SourceFile) => string> = {
  commas: (file) =>
    `has a comma after each object: convert it first: ${convert(file, "sed 's/,[[:space:]]*$//'", converted(file, 'lines'))}`,
  concatenated: (file) =>
    `has several objects on a line: convert it first: ${convert(file, 'jq -c .', converted(file, 'lines'))}`,
  python: (file) =>
    `has single quotes where JSON has double ones: convert it first: ${convert(file, `python3 -c '${PYTHON}' <`, converted(file, 'lines'))}`,
  array: (file) => array('', file),
  pretty: (file) =>
    `has JSON objects over several lines: convert it first: ${convert(file, 'jq -c .', converted(file, 'lines', '.jsonl'))}`,
  'not a number': (file) =>
    `has NaN or Infinity, which are not JSON: convert it first: ${convert(file, `python3 -c '${NO_NAN}' <`, converted(file, 'lines'))}`,
};

function array(text: string, file: SourceFile): string {
  if (file.commandOption)
    return `is one JSON array, not JSON Lines: use ${file.commandOption('format', 'json')}`;
  const items = /^\s*\[\s*"/.test(text) ? "jq -c '.[] | {text: .}'" : "jq -c '.[]'";
  return `is one JSON array, not JSON Lines: convert it first: ${convert(file, items, converted(file, 'lines', '.jsonl'))}`;
}

const DELIMITERS = [',', ';', '\t', '|'];

function notCsv(text: string, lines: readonly string[], reading: Reading, file: SourceFile) {
  const { delimiter = ',', textField, option } = reading;
  const [first] = lines;
  // The header is cut.
  if (first === undefined) return undefined;
  const [, separator] = /^sep=(.)\r?$/i.exec(first) ?? [];
  if (separator !== undefined) {
    const command = convert(file, 'tail -n +2', converted(file, 'table'));
    return `begins with a line that only Excel reads, sep=${separator}: remove it and use ${option('delimiter', separator)}: ${command}`;
  }
  if (isObject(first)) return `looks like JSON Lines: use ${option('format', 'ndjson')}`;
  if (/^\s*\[\s*(?:\{|$)/.test(first)) return array(text, file);
  const columns = headerOf(text, delimiter);
  if (columns.includes(textField) || columns.length === 0) return undefined;
  const others = DELIMITERS.filter((other) => other !== delimiter).map((other) => ({
    other,
    names: headerOf(text, other),
  }));
  const named = others.find(({ names }) => names.includes(textField));
  if (named) {
    return `has no column "${textField}" with ${shown(delimiter)} between its fields, but with ${shown(named.other)}: use ${option('delimiter', named.other)}`;
  }
  // Only a header with a single field suggests another delimiter.
  const [most] = others.toSorted((a, b) => b.names.length - a.names.length);
  if (columns.length > 1 || !most || most.names.length < 2) return undefined;
  return `seems to have ${shown(most.other)} between its fields: use ${option('delimiter', most.other)} (its columns are then ${listed(most.names)})`;
}

const shown = (delimiter: string): string => (delimiter === '\t' ? 'tabs' : `"${delimiter}"`);

const isObject = (line: string): boolean => parsedObject(line) !== undefined;

const headerOf = (text: string, delimiter: string): string[] =>
  readRecords(text.replace(/^(?:\r*\n)+/, ''), delimiter, 1)[0] ?? [];

/** The first `limit` records of a CSV; quoted fields may hold delimiters, line ends, and quotes twice. */
export function readRecords(csv: string, delimiter: string, limit: number): string[][] {
  const records: string[][] = [[]];
  const end = delimiter.replace(/[\\\]^-]/, '\\$&');
  const field = new RegExp(`(?:"((?:[^"]|"")*)"|([^${end}\r\n]*))([${end}]|\r*\n|$)`, 'gy');
  for (const [, quoted, bare = '', ending] of csv.matchAll(field)) {
    records.at(-1)?.push(quoted?.replaceAll('""', '"') ?? bare);
    if (ending === delimiter) continue;
    if (ending === '' || records.length === limit) break;
    records.push([]);
  }
  return records;
}
