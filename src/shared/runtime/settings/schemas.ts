/** How a setting is declared, and the schemas that several settings share. */
import { z } from 'zod';
import { KeySet, parseKeyLine } from '../api-keys.ts';
import type { MinFree } from '../disk-reserve.ts';
import { toError } from '../to-error.ts';

export interface Setting<S extends z.ZodType> {
  schema: S;
  /** The value as written in the environment; '' = unset. */
  default: string;
  doc: string;
}

export const setting = <S extends z.ZodType>(
  schema: S,
  defaultValue: string | number,
  doc: string,
): Setting<S> => ({
  schema,
  default: String(defaultValue),
  doc,
});

export const text = z.string().min(1, 'must not be empty');
export const optionalText = z.string().transform((value) => (value === '' ? undefined : value));
export const int = (min: number, max: number) =>
  z
    .string()
    .regex(/^-?\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max));

/** A comma-separated list. */
export const list = z.string().transform((value) =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);

export const minFree = z
  .string()
  .regex(/^(auto|\d{1,15})$/, 'must be a whole number of bytes, or auto')
  .transform((value): MinFree => (value === 'auto' ? value : Number(value)));

/** A number of padded tokens; undefined: the worker measures it. */
export const budget = z
  .string()
  .regex(/^\d*$/, 'must be a whole number')
  .transform((value) => (value === '' ? undefined : Number(value)))
  .pipe(z.number().min(1).max(1e6).optional());

export const MINUTES_MS = 60_000;
export const DAY_S = 86_400;

/**
 * Lines of API keys. Messages do not repeat them, because a line may be a key by mistake. A list such as "," is an error: it must
 * not open the API to every caller.
 */
const someKeys = z.string().refine((value) => value === '' || /[^\s,]/.test(value), 'has no keys');
export const keyLines = someKeys.pipe(list).transform((lines, context) => {
  try {
    const keys = lines.map(parseKeyLine);
    // KeySet refuses duplicates.
    return [...new KeySet(keys)];
  } catch (error) {
    context.addIssue(toError(error).message);
    return z.NEVER;
  }
});

export const plainUrl = optionalText.refine(
  (url) => url === undefined || isPlainUrl(url),
  'must be an http:// or https:// URL, without a user, a query or a fragment',
);

/** Receivers of webhooks get this URL with paths appended. */
function isPlainUrl(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, username, password } = new URL(url);
  return /^https?:$/.test(protocol) && username === '' && password === '' && !/[?#]/.test(url);
}
