/** Original fields of records, to stand beside their results: reads them, and names them. */
import { isUtf8 } from 'node:buffer';
import { csvFields } from './csv.ts';
import type { InputSpec } from './input.ts';
import { parsedObject } from './json-problem.ts';
import type { StoredRecord } from './parse.ts';
import { membersOf } from './written-members.ts';

/** Fields of one record. Values are text for CSV and lines, JSON as written for NDJSON. */
export interface KeptFields {
  /** By column; undefined where the record has none. */
  values: readonly (string | undefined)[];
  /** NDJSON: all others, where these are kept, too. */
  others: readonly (readonly [name: string, json: string])[];
}

/** @returns undefined for a record that cannot be read */
export type KeptReader = (record: StoredRecord) => KeptFields | undefined;

/** @param columns names of members @param others whether the other members are kept, too */
export function jsonFields(columns: readonly string[], others: boolean): KeptReader {
  const places = new Map(columns.map((name, i) => [name, i]));
  return ({ content, tooLong }) => {
    if (tooLong || !isUtf8(content)) return undefined;
    const json = content.toString();
    if (!parsedObject(json)) return undefined;
    const values: (string | undefined)[] = columns.map(() => undefined);
    const rest: [string, string][] = [];
    for (const [name, value] of membersOf(json)) {
      const place = places.get(name);
      if (place !== undefined) values[place] = value;
      else if (others) rest.push([name, value]);
    }
    return { values, others: rest };
  };
}

const NONE: KeptFields['others'] = [];

/** @param positions of the columns in a record with `width` fields; -1: it has no such column */
export function csvKept(positions: readonly number[], width: number, input: InputSpec): KeptReader {
  const { delimiter, quote } = input;
  return ({ content, tooLong }) => {
    if (tooLong || !isUtf8(content)) return undefined;
    const fields = csvFields(content, { delimiter, quote }, width);
    if ('problem' in fields || fields.length !== width) return undefined;
    return { values: positions.map((position) => fields[position]), others: NONE };
  };
}

/** The line itself is its only field. */
export const lineKept: KeptReader = ({ content, tooLong }) =>
  tooLong || !isUtf8(content) ? undefined : { values: [content.toString()], others: NONE };

/** The content of a table's field for a JSON value as written: empty for null. @param text for strings */
export function cellOf(json: string, text: (value: string) => string): string {
  if (json.startsWith('"')) return text(JSON.parse(json) as string);
  return json === 'null' ? '' : json;
}

/** Fields of a result. */
const RESULT_NAMES = 'line|id|label|score|labels|truncated|unknown|error|error_message|other_fields';

/**
 * Names original fields so that none is called like a field of the result: that one gets `input_` in front. So does a field that begins with
 * `input_` and then such a name, so that no two get the same.
 * @param id name of the field with the ids, if it is kept as `id`
 * @param scores there are fields `score_LABEL`
 */
export function fieldNamer({
  id,
  scores,
}: {
  id: string | undefined;
  scores: boolean;
}): (name: string) => string {
  const taken = new RegExp(`^(?:input_)*(?:${RESULT_NAMES}${scores ? '|score_[^]*' : ''})$`);
  return (name) => (taken.test(name) && !(name === 'id' && name === id) ? `input_${name}` : name);
}

/** Of columns with the same name, the second and further ones get `_2`, `_3`, … */
export function distinct(names: readonly string[]): string[] {
  const taken = new Set(names);
  const seen = new Set<string>();
  return names.map((name) => {
    let unique = name;
    for (let n = 2; seen.has(unique) || (unique !== name && taken.has(unique)); n++) unique = `${name}_${n}`;
    seen.add(unique);
    return unique;
  });
}
