/** Guesses which field of a file has the texts, from its first records. Runs in browsers too. */
import { listed } from '../contract/text.ts';
import { parsedObject } from './json-problem.ts';
import { readRecords, type Reading } from './sniff-records.ts';

const SAMPLE = 200;

/** Usual names of text fields. */
const USUAL = /text|review|comment|body|content|message|sentence|tweet|description|summary|post/i;

export interface Fields {
  /** In file order. */
  names: string[];
  /** The field that looks most like text; undefined when none does. */
  likely: string | undefined;
}

/**
 * @param text the beginning of a file
 * @returns undefined when no record can be read, and for lines, which have no fields
 */
export function fieldsOf(
  text: string,
  { format, delimiter = ',' }: Pick<Reading, 'format' | 'delimiter'>,
): (Fields & { texts: Set<string> }) | undefined {
  if (format === 'lines') return undefined;
  const records = format === 'csv' ? csvRecords(text, delimiter) : jsonRecords(text);
  const [first] = records;
  if (!first) return undefined;
  /** Characters of text-like values, by field. */
  const weights = new Map<string, number>();
  const texts = new Set<string>();
  for (const [name, value] of records.flatMap((record) => [...record])) {
    const weight =
      typeof value === 'string' && !/^https?:\/\/\S+$/.test(value) ? Math.min(value.length, 500) : 0;
    weights.set(name, (weights.get(name) ?? 0) + weight);
    if (typeof value === 'string' || value === null) texts.add(name);
  }
  const names = [...weights.keys()];
  const weightOf = (name: string) => (weights.get(name) ?? 0) + (USUAL.test(name) ? 1 : 0);
  const [heaviest] = names.toSorted((a, b) => weightOf(b) - weightOf(a));
  const likely = heaviest !== undefined && weightOf(heaviest) > 0 ? heaviest : undefined;
  return { names, likely, texts };
}

/**
 * The error when none of the first records has the text field.
 * @param text the beginning of the file
 * @param whole whether `text` is the whole file
 * @returns undefined when a record may have the field, or no record can be read
 */
export function missingField(text: string, whole: boolean, reading: Reading): string | undefined {
  const { format, textField, option } = reading;
  if (format === 'lines' || (format === 'csv' && !whole && !text.includes('\n'))) return undefined;
  const fields = fieldsOf(text, reading);
  if (!fields || fields.texts.has(textField)) return undefined;
  const { names, likely } = fields;
  const others = names.filter((name) => name !== textField);
  const advice = likely === undefined ? '' : `; is it ${option('text_field', likely)}?`;
  if (format === 'csv') return `text column "${textField}" is not in the header: ${listed(names)}${advice}`;
  const what = names.includes(textField)
    ? `the field "${textField}" is never a string in its first records`
    : `none of its first records has a field "${textField}"`;
  return `${what}; they have ${others.length === 0 ? 'no other' : `the fields ${listed(others)}`}${advice}`;
}

function jsonRecords(text: string): Map<string, unknown>[] {
  const lines = text.split('\n', SAMPLE + 1).filter((line) => line.trim() !== '');
  return lines.flatMap((line) => {
    const record = parsedObject(line.replace(/^\ufeff+/, ''));
    // Otherwise the line is cut, or becomes an error row.
    return record ? [new Map(Object.entries(record))] : [];
  });
}

function csvRecords(text: string, delimiter: string): Map<string, unknown>[] {
  const [header = [], ...rows] = readRecords(text.replace(/^(?:\r*\n)+/, ''), delimiter, 20);
  const records = rows.length === 0 ? [[]] : rows;
  if (header.join('') === '') return [];
  return records.map((fields) => new Map(header.map((name, i) => [name, fields[i] ?? ''])));
}
