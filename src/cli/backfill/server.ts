/** The way to a server, with the API key, and whether an address that was left in a file may have that key. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { HttpClient } from '../../client/http.ts';
import { DEFAULT_URL } from './command-line.ts';
import { clientKey } from '../credentials.ts';
import type { BackfillState } from './state.ts';

/** @throws UsageError when the key cannot be sent */
export function connectTo(url: URL): HttpClient {
  const { value } = clientKey();
  return new HttpClient(url, value === undefined ? {} : { Authorization: `Bearer ${value}` });
}

/**
 * What a resume file says beside the URL: that whoever had this key has named this server. Only they could write it, so a file
 * that came with a folder cannot have the key sent to a server of its own.
 * @returns undefined without a key
 */
export function proofOf(url: string): string | undefined {
  const { value } = clientKey();
  return value === undefined ? undefined : createHmac('sha256', value).update(url).digest('hex');
}

/** Whether the URL in a resume file may have the key: it has had it before, or there is none. */
export function mayHaveKey({ url, url_proof: proof = '' }: BackfillState): boolean {
  const expected = proofOf(url);
  if (expected === undefined || url === DEFAULT_URL.href) return true;
  return proof.length === expected.length && timingSafeEqual(Buffer.from(proof), Buffer.from(expected));
}
