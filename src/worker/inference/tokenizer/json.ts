/** Reads values of unknown type from a JSON file. */

export type JsonObject = Readonly<Record<string, unknown>>;

export function asRecord(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

/** The text of a token, written as a string or as an AddedToken. */
export function contentOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  const content = asRecord(token)?.content;
  return typeof content === 'string' ? content : undefined;
}

export function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_ID;
}

/** Largest token id: u32 in Python, int32 in the tensors. */
const MAX_ID = 2 ** 31 - 1;
