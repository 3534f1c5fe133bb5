/** Strict queries: refuses ambiguous ones. Hono leaves a wrong escape as it is, and takes the first of two parameters of one name. */
import type { FieldError } from '../../shared/contract/problems.ts';
import { invalidRequest } from './problems.ts';

/** More than any route takes. Some 7,000 fit into a URL, and each unknown one would cost several steps and an error. */
const MAX_PARAMETERS = 50;

/** Paths of the API; the pages of other libraries have their own rules. */
const CHECKED_PATH = /^\/(?:v1|predict|hf)(?:\/|$)/;

/**
 * Checks the query of a request to the API.
 * @throws AppError `invalid_request` for more than MAX_PARAMETERS, for escapes that are not UTF-8, and for repeated names
 */
export function checkQuery(path: string, url: string): void {
  const start = url.indexOf('?');
  if (start === -1 || !CHECKED_PATH.test(path)) return;
  const errors = queryErrors(url.slice(start + 1));
  if (errors.length > 0) throw invalidRequest(errors);
}

function queryErrors(query: string): FieldError[] {
  const pairs = query.split('&', MAX_PARAMETERS + 1);
  if (pairs.length > MAX_PARAMETERS)
    return [{ path: '', message: `the query has more than ${MAX_PARAMETERS} parameters` }];
  const seen = new Set<string>();
  const errors = new Map<string, string>();
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const written = equals === -1 ? pair : pair.slice(0, equals);
    const name = decode(written);
    const value = equals === -1 ? '' : decode(pair.slice(equals + 1));
    if (name === undefined || value === undefined) {
      errors.set(name ?? written, 'has a % that does not start a UTF-8 escape; write % as %25');
    } else if (seen.has(name)) errors.set(name, 'is given twice');
    if (name !== undefined) seen.add(name);
  }
  return [...errors].map(([path, message]) => ({ path, message }));
}

function decode(text: string): string | undefined {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}
