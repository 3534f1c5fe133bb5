/** Verifies webhooks in a receiver by the Standard Webhooks scheme, with WebCrypto. */
import { AmuletError } from './errors.ts';
import type { WebhookEvent } from './types.ts';

/** The webhook was forged, changed or replayed late. Answer with a 400. */
export class WebhookVerificationError extends AmuletError {
  override name = 'WebhookVerificationError';
  declare readonly code: 'webhook_not_verified';

  constructor(message: string) {
    super('webhook_not_verified', message);
  }
}

/** Headers of a request: `Headers`, or those of node:http. */
export type WebhookHeaders =
  { get: (name: string) => string | null } | Readonly<Record<string, string | readonly string[] | undefined>>;

/** Bounds the age of a webhook, so that a recorded one cannot be replayed later. */
const TOLERANCE_S = 5 * 60;
const SECRET_PREFIX = 'whsec_';
/** Scheme of a signature: HMAC with SHA-256 and a shared secret. */
const VERSION = 'v1';
const HMAC = { name: 'HMAC', hash: 'SHA-256' };
type Key = Awaited<ReturnType<typeof crypto.subtle.importKey>>;

/**
 * @param body as received; parsed and serialised again, it would differ
 * @param secret `whsec_…`; both secrets during a rotation
 * @param now Unix ms
 * @returns the event
 * @throws WebhookVerificationError; TypeError for a malformed secret
 */
export async function verifyWebhook(
  body: string | Uint8Array,
  headers: WebhookHeaders,
  secret: string | readonly string[],
  now = Date.now(),
): Promise<WebhookEvent> {
  const keys = await Promise.all([secret].flat().map(importSecret));
  const [id, timestamp, signatures] = ['id', 'timestamp', 'signature'].map((name) => {
    const value = header(headers, `webhook-${name}`);
    if (value !== undefined && value !== '') return value;
    throw new WebhookVerificationError(`missing header webhook-${name}`);
  }) as [string, string, string];
  const ageS = now / 1000 - Number(timestamp);
  if (!/^\d+$/.test(timestamp) || Math.abs(ageS) > TOLERANCE_S)
    throw new WebhookVerificationError('webhook-timestamp is not within five minutes of now');

  const text = typeof body === 'string' ? body : new TextDecoder('utf-8', { ignoreBOM: true }).decode(body);
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${text}`);
  if (!(await matchesAny(signatures.split(' '), keys, signed)))
    throw new WebhookVerificationError('no signature matches');
  try {
    return JSON.parse(text) as WebhookEvent;
  } catch {
    throw new WebhookVerificationError('the body is not JSON');
  }
}

async function matchesAny(
  signatures: readonly string[],
  keys: readonly Key[],
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  for (const entry of signatures) {
    const [version, encoded = ''] = entry.split(',');
    const signature = version === VERSION ? fromBase64(encoded) : undefined;
    if (!signature) continue;
    for (const key of keys) {
      // Compares in constant time.
      if (await crypto.subtle.verify(HMAC.name, key, signature, signed)) return true;
    }
  }
  return false;
}

function importSecret(secret: string): Promise<Key> {
  const key = secret.startsWith(SECRET_PREFIX) ? fromBase64(secret.slice(SECRET_PREFIX.length)) : undefined;
  if (!key || key.length === 0) throw new TypeError('the secret must be whsec_ followed by base64');
  return crypto.subtle.importKey('raw', key, HMAC, false, ['verify']);
}

function header(headers: WebhookHeaders, name: string): string | undefined {
  // Not `instanceof`: some runtimes and libraries define their own Headers.
  if (typeof headers.get === 'function') return headers.get(name) ?? undefined;
  const value = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1] as
    string | readonly string[] | undefined;
  return typeof value === 'string' ? value : value?.[0];
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}
