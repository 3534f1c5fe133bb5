/** Members of a JSON object as they are written: repeats and digits, which JSON.parse does not tell. */
import { endOfString, nameAt } from '../json-scan.ts';

/**
 * Whether the root object has two members of a name. Most records name it once, and need no second look.
 * @param json a valid JSON object
 */
export function isRepeated(json: string, name: string): boolean {
  const written = JSON.stringify(name);
  if (json.indexOf(written) === json.lastIndexOf(written)) return false;
  let members = 0;
  for (const _ of endsOfName(json, name)) {
    members++;
    if (members === 2) return true;
  }
  return false;
}

/**
 * The number that a member of the root object has.
 * @param json a valid JSON object with one member of this name, whose value is `value`
 */
export function numberLiteral(json: string, name: string, value: number): string {
  // The usual case, without a second reading: the name is nowhere else in the record.
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

/** Where names of the root object end that are this one. */
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
