/**
 * API keys: creation, parsing and lookup. The server knows only the SHA-256 of each: a key is 256 random bits and cannot be
 * guessed, and a hash read from the configuration is of no use.
 */
import { hash, randomBytes } from 'node:crypto';
import { NAME, NAME_RULE } from '../contract/names.ts';
import { EVERYBODY } from '../contract/owner.ts';

export interface ApiKey {
  /** Owner of the jobs, batches and deliveries that are created with it. */
  name: string;
  /** SHA-256 of the key, in hex. */
  hash: string;
  /** Requests a minute; undefined: RATE_LIMIT_PER_MINUTE. */
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

/** Any input as one short line. */
const quoted = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** The line for API_KEYS: `name:hash`, hash in hex. */
export function keyLine(name: string, key: string): string {
  return `${name}:${hashOf(key)}`;
}

/**
 * Reads `name:hash` or `name:hash:requests a minute`.
 * @throws Error without the line, which may be a key by mistake
 */
export function parseKeyLine(line: string): ApiKey {
  const [name = '', hex = '', perMinute, ...others] = line.split(':');
  if (others.length > 0 || !/^[0-9a-f]{64}$/.test(hex) || !/^([1-9]\d{0,8})?$/.test(perMinute ?? ''))
    throw new Error(
      'a key must be name:hash or name:hash:requests, as `npx amulet-classify key create NAME` prints it',
    );
  checkKeyName(name);
  return { name, hash: hex, perMinute: perMinute ? Number(perMinute) : undefined };
}

/** A set of keys that finds the one a request presents. */
export class KeySet implements Iterable<ApiKey> {
  readonly #byHash: ReadonlyMap<string, ApiKey>;

  /** Several keys may share a name, for rotation. @throws Error when a key is in the list twice */
  constructor(keys: readonly ApiKey[]) {
    this.#byHash = new Map(keys.map((key) => [key.hash, key]));
    if (this.#byHash.size < keys.length) throw new Error('the same key is listed twice');
  }

  get size(): number {
    return this.#byHash.size;
  }

  /**
   * Finds the presented key in constant time, however many keys exist. The duration reveals at most how far the hash of a guess
   * agrees with that of a key, and guesses cannot be chosen by their hashes: a key is 256 random bits.
   */
  find(presented: string): ApiKey | undefined {
    return this.#byHash.get(hashOf(presented));
  }

  /** Whether a key is still valid, with the same name. */
  has({ hash, name }: ApiKey): boolean {
    return this.#byHash.get(hash)?.name === name;
  }

  [Symbol.iterator](): Iterator<ApiKey> {
    return this.#byHash.values();
  }
}

const hashOf = (key: string): string => hash('sha256', key, 'hex');
