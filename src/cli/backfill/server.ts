/** Connects to a server with the API key, and decides whether an address from a resume file may be sent that key. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { HttpClient } from '../../client/http.ts';
import { DEFAULT_URL } from './command-line.ts';
import { clientKey } from '../credentials.ts';
import type { BackfillState } from './state.ts';

/** @throws UsageError for a key that no header can carry */
export function connectTo(url: URL): HttpClient {
  const { value } = clientKey();
  return new HttpClient(url, value === undefined ? {} : { Authorization: `Bearer ${value}` });
}

/**
 * Proof in a resume file that the owner of this key has chosen this URL. Only they can compute it, so a resume file that came
 * with a stranger's folder cannot have the key sent to the stranger's server.
 * @returns undefined without a key
 */
export function proofOf(url: string): string | undefined {
  const { value } = clientKey();
  return value === undefined ? undefined : createHmac('sha256', value).update(url).digest('hex');
}

/** Whether the URL in a resume file may be sent the key: it was sent it before, is the default, or no key is set. */
export function mayHaveKey({ url, url_proof: proof = '' }: BackfillState): boolean {
  const expected = proofOf(url);
  if (expected === undefined || url === DEFAULT_URL.href) return true;
  return proof.length === expected.length && timingSafeEqual(Buffer.from(proof), Buffer.from(expected));
}
