/** Webhook secrets in the format of Standard Webhooks: `whsec_` and the key in base64. */
import { randomBytes } from 'node:crypto';

const PREFIX = 'whsec_';
/** Bytes of a key, as the specification requires. */
const MIN_BYTES = 24;
const MAX_BYTES = 64;
const NEW_BYTES = 32;

/** A new random secret. */
export function newSecret(): string {
  return PREFIX + randomBytes(NEW_BYTES).toString('base64');
}

export function isSecret(value: string): boolean {
  if (!value.startsWith(PREFIX)) return false;
  const base64 = value.slice(PREFIX.length);
  const key = Buffer.from(base64, 'base64');
  // Node's decoder skips invalid characters: compare with the encoded result.
  return key.toString('base64') === base64 && key.length >= MIN_BYTES && key.length <= MAX_BYTES;
}
