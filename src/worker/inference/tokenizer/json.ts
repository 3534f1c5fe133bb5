/** Reading of values that come from a JSON file and may be anything. */

export type JsonObject = Readonly<Record<string, unknown>>;

export function asRecord(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

/** A token's text, which the files write as a string or as an AddedToken. */
export function contentOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  const content = asRecord(token)?.content;
  return typeof content === 'string' ? content : undefined;
}

export function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_ID;
}

/** Of ids in tokenizer.json: Python's are u32, the tensors' int32. */
const MAX_ID = 2 ** 31 - 1;
