/** API keys: finds the owner of a request by its key. */
import type { ApiKey, KeySet } from '../../shared/runtime/api-keys.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { EVERYBODY } from '../../shared/contract/owner.ts';

/** Paths that reveal nothing about any owner: probes, the description of the API, and the page, which asks for a key itself. */
const OPEN = /^\/(docs(\/.*)?|page\/[^/]+|openapi\.json|health(\/(live|ready))?)?$/;

export const isOpen = (path: string): boolean => OPEN.test(path);

export type KeyLookup = Pick<KeySet, 'find'>;

/**
 * @param header `Authorization` of a request
 * @returns the key
 * @throws AppError `unauthorized`
 */
export function authenticate(keys: KeyLookup, header: string | undefined): ApiKey {
  const [, presented] = /^Bearer +(\S+) *$/i.exec(header ?? '') ?? [];
  if (presented === undefined) {
    throw new AppError(
      'unauthorized',
      header === undefined ? 'send `Authorization: Bearer <key>`' : 'Authorization must be `Bearer <key>`',
    );
  }
  const key = keys.find(presented);
  if (!key) throw new AppError('unauthorized', 'this API key is not known here');
  return key;
}

/** Keys with the same name have the same owner, so that a key can be replaced. */
export const ownerOf = (key: ApiKey | undefined): string => key?.name ?? EVERYBODY;
