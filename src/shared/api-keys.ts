/**
 * API keys. The server knows the SHA-256 of each only: a key is 256 random bits, so there is nothing to guess, and whoever reads
 * the configuration cannot use what is there.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { NAME, NAME_RULE } from './names.ts';
import { EVERYBODY } from './owner.ts';

export interface ApiKey {
  /** Owner of the jobs, batches and deliveries that are made with it. */
  name: string;
  /** SHA-256 of the key, 32 bytes. */
  hash: Buffer;
  /** Requests a minute; undefined: as the settings say. */
  perMinute: number | undefined;
}

const PREFIX = 'amk_';
const KEY_BYTES = 32;

/** A new random key. */
export function newKey(): string {
  return PREFIX + randomBytes(KEY_BYTES).toString('base64url');
}

/** @throws Error when a key cannot have this name */
export function checkKeyName(name: string): void {
  if (!NAME.test(name))
    throw new Error(`${quoted(name)} cannot be the name of a key: it must be ${NAME_RULE}`);
  if (name === EVERYBODY)
    throw new Error(`${name} cannot be the name of a key: it stands for callers without one`);
}

/** Whatever somebody wrote in the place of a name, in one line. */
const quoted = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** What the configuration has of a key: `name:hash`, hash in hex. */
export function keyLine(name: string, key: string): string {
  return `${name}:${hashOf(key).toString('hex')}`;
}

/**
 * Reads `name:hash` or `name:hash:requests a minute`.
 * @throws Error that does not repeat the line: it may be a key that somebody put there by mistake
 */
export function parseKeyLine(line: string): ApiKey {
  const [name = '', hex = '', perMinute, ...others] = line.split(':');
  if (others.length > 0 || !/^[0-9a-f]{64}$/.test(hex) || !/^([1-9]\d{0,8})?$/.test(perMinute ?? ''))
    throw new Error(
      'a key must be name:hash or name:hash:requests, as `npx amulet-classify key create NAME` prints it',
    );
  checkKeyName(name);
  return { name, hash: Buffer.from(hex, 'hex'), perMinute: perMinute ? Number(perMinute) : undefined };
}

/** Several keys may have one name, for a change of keys. @throws Error when two of them are the same */
export function checkKeys(keys: readonly ApiKey[]): void {
  const hashes = keys.map(({ hash }) => hash.toString('hex'));
  if (new Set(hashes).size < keys.length) throw new Error('the same key is there twice');
}

/** The key that was presented. Takes as long whether and wherever there is one: every hash is compared as a whole. */
export function findKey(keys: readonly ApiKey[], presented: string): ApiKey | undefined {
  const hash = hashOf(presented);
  let found: ApiKey | undefined;
  for (const key of keys) if (timingSafeEqual(key.hash, hash)) found = key;
  return found;
}

function hashOf(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}
