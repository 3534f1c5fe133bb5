/** A number of JSON as it was written, which JSON.parse does not tell. It imports nothing. */

/**
 * The number that a member of an object has, as it stands in the JSON.
 * @param json a valid JSON object, of which the member's value is a number
 */
export function numberLiteral(json: string, member: string, value: number): string {
  // The usual case, without a second reading: one member of this name in all of the record.
  const key = JSON.stringify(member);
  const at = json.indexOf(key);
  if (at !== -1 && json.lastIndexOf(key) === at) {
    LITERAL_BEHIND.lastIndex = at + key.length;
    const [, literal] = LITERAL_BEHIND.exec(json) ?? [];
    if (literal !== undefined && Number(literal) === value) return literal;
  }
  const literals = new Map<unknown, string>();
  const root: unknown = JSON.parse(
    json,
    function (this: unknown, name: string, read: unknown, context?: { source?: string }) {
      if (name === member && context?.source !== undefined) literals.set(this, context.source);
      return read;
    },
  );
  return literals.get(root) ?? String(value);
}

const LITERAL_BEHIND = /\s*:\s*(-?\d[\d.eE+-]*)/y;
