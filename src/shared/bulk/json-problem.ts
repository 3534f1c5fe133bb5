/** Recognises the usual mistakes in a record that should be a JSON object. Runs in browsers too. */

/** Mistakes that usually affect a whole file, not one record. */
export type JsonHabit = 'commas' | 'concatenated' | 'python' | 'array' | 'not a number' | 'pretty';

/** @returns undefined when the record is valid JSON or its mistake is unknown */
export function jsonHabit(record: string): JsonHabit | undefined {
  const json = record.trim();
  return parses(json) ? undefined : habitOf(json);
}

/** Longest record that is examined: at 20 million characters in a string the patterns below overflow their stack. */
const MAX_CHARS = 1_000_000;

/** @param json invalid JSON, trimmed */
function habitOf(json: string): JsonHabit | undefined {
  if (json.length > MAX_CHARS) return undefined;
  if (json.endsWith(',') && parses(json.slice(0, -1))) return 'commas';
  if (parsesWith(json, NOT_A_NUMBER, 'null', (replaced) => replaced)) return 'not a number';
  if (parsesWith(json, BETWEEN_OBJECTS, '},{', (replaced) => `[${replaced}]`)) return 'concatenated';
  if (/^\{\s*'/.test(json)) return 'python';
  if (/^\[\s*(?:[[{"].*)?$/s.test(json)) return 'array';
  if (/^\{\s*(?:"(?:[^"\\]|\\.)*"\s*:.*,)?$/s.test(json)) return 'pretty';
  return undefined;
}

/**
 * The mistake, worded to continue a sentence about the record.
 * @param record invalid JSON
 */
export function jsonProblem(record: string): string {
  const habit = habitOf(record.trim());
  return habit === undefined ? 'is not valid JSON' : PROBLEMS[habit];
}

const PROBLEMS: Record<JsonHabit, string> = {
  commas: 'is not valid JSON: a comma follows it',
  concatenated: 'is not valid JSON: its line has several values',
  python: 'is not valid JSON: it has single quotes where JSON has double ones',
  array: 'is not valid JSON: it begins an array, but every line must be an object',
  'not a number': 'is not valid JSON: it has NaN or Infinity, which JSON does not know (write null)',
  pretty: 'is not valid JSON: the object continues on the next line, but every line must be a whole object',
};

const NOT_A_NUMBER = /(?<![\w.])-?(?:NaN|Infinity)(?!\w)/g;
const BETWEEN_OBJECTS = /\}\s*\{/g;
const STRING = /"(?:[^"\\]|\\.)*"/g;

/** Whether the pattern occurs and its replacement makes valid JSON. A record without it is not parsed again. */
function parsesWith(json: string, pattern: RegExp, by: string, wrap: (replaced: string) => string): boolean {
  return json.search(pattern) !== -1 && parses(wrap(replaceOutsideStrings(json, pattern, by)));
}

function replaceOutsideStrings(json: string, pattern: RegExp, by: string): string {
  let result = '';
  let from = 0;
  for (const { 0: string, index } of json.matchAll(STRING)) {
    // The strings before and after stand for what the pattern may look at.
    result += json.slice(from, index).replace(pattern, by) + string;
    from = index + string.length;
  }
  return result + json.slice(from).replace(pattern, by);
}

const parses = (json: string): boolean => parsed(json) !== undefined;

/** The value of a JSON text; undefined when it is not valid JSON. */
export function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** The object that a JSON text stands for; undefined for any other text. */
export function parsedObject(json: string): object | undefined {
  const value = parsed(json);
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
}
