/** Reads members of a JSON object as written: JSON.parse reports neither repeated names nor lost digits. */
import { endOfString, nameAt } from '../contract/json-scan.ts';

/**
 * Creates a check whether the root object has a member twice, in any spelling: `"id"` and `"\u0069d"` are the same name. Most records
 * contain the name once and need no scan.
 * @returns a function that takes a valid JSON object
 */
export function repeatFinder(name: string): (json: string) => boolean {
  const written = JSON.stringify(name);
  const spelling = anySpelling(name);
  return (json) => {
    if (json.indexOf(written) === json.lastIndexOf(written)) {
      // Without such an escape, no other spelling is possible.
      if (!json.includes('\\u') && !json.includes('\\/')) return false;
      if (!hasTwo(json, spelling)) return false;
    }
    let members = 0;
    for (const _ of endsOfName(json, name)) {
      members++;
      if (members === 2) return true;
    }
    return false;
  };
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\\\',
  '/': '/',
  '\b': 'b',
  '\f': 'f',
  '\n': 'n',
  '\r': 'r',
  '\t': 't',
};

/** Matches a string in every spelling that JSON allows. The closing quote may open the next string. */
function anySpelling(name: string): RegExp {
  const units = Array.from({ length: name.length }, (_, i) => {
    const hex = name.charCodeAt(i).toString(16).padStart(4, '0');
    const anyCase = hex.replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`);
    const short = SHORT_ESCAPES[name.charAt(i)];
    return `(?:\\u${hex}|\\\\u${anyCase}${short === undefined ? '' : `|\\\\${short}`})`;
  });
  return new RegExp(`"${units.join('')}(?=")`, 'g');
}

function hasTwo(json: string, pattern: RegExp): boolean {
  pattern.lastIndex = 0;
  return pattern.test(json) && pattern.test(json);
}

/**
 * The number of a member of the root object, as written.
 * @param json a valid JSON object with one member of this name, whose value is `value`
 */
export function numberLiteral(json: string, name: string, value: number): string {
  // The usual case, without a scan: the name occurs once in the record.
  const written = JSON.stringify(name);
  const at = json.indexOf(written);
  if (at !== -1 && json.lastIndexOf(written) === at) {
    const literal = literalBehind(json, at + written.length);
    if (literal !== undefined && Number(literal) === value) return literal;
  }
  const [end = json.length] = endsOfName(json, name);
  return literalBehind(json, end) ?? String(value);
}

const LITERAL_BEHIND = /\s*:\s*(-?\d[\d.eE+-]*)/y;

function literalBehind(json: string, at: number): string | undefined {
  LITERAL_BEHIND.lastIndex = at;
  return LITERAL_BEHIND.exec(json)?.[1];
}

/** Indexes after each occurrence of this name in the root object. */
function* endsOfName(json: string, name: string): Generator<number> {
  let depth = 0;
  let atName = false;
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (char === '"') {
      const end = endOfString(json, at);
      if (depth === 1 && atName) {
        atName = false;
        if (nameAt(json, at, end) === name) yield end + 1;
      }
      at = end;
    } else if (char === ',') atName = true;
    else if (char === '{' || char === '[') {
      depth++;
      atName = true;
    } else if (char === '}' || char === ']') depth--;
  }
}

/**
 * Members of the root object by name, each value as written. Of members with the same name the last counts, as for JSON.parse.
 * @param json a valid JSON object
 */
export function membersOf(json: string): Map<string, string> {
  const members = new Map<string, string>();
  let depth = 0;
  let name: string | undefined;
  let from = 0;
  for (let at = 0; at < json.length; at++) {
    const char = json[at];
    if (char === '"') {
      const end = endOfString(json, at);
      if (depth === 1) name ??= nameAt(json, at, end);
      at = end;
    } else if (char === ':') {
      if (depth === 1) from = at + 1;
    } else if (char === '{' || char === '[') depth++;
    else if (char === '}' || char === ']' || char === ',') {
      if (depth === 1 && name !== undefined) {
        members.set(name, json.slice(from, at).trim());
        name = undefined;
      }
      if (char !== ',') depth--;
    }
  }
  return members;
}
