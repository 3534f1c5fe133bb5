/**
 * API keys. The server knows the SHA-256 of each only: a key is 256 random bits, so there is nothing to guess, and whoever reads
 * the configuration cannot use what is there.
 */
import { hash, randomBytes } from 'node:crypto';
import { NAME, NAME_RULE } from '../contract/names.ts';
import { EVERYBODY } from '../contract/owner.ts';

export interface ApiKey {
  /** Owner of the jobs, batches and deliveries that are made with it. */
  name: string;
  /** SHA-256 of the key, in hex. */
  hash: string;
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
  return `${name}:${hashOf(key)}`;
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
  return { name, hash: hex, perMinute: perMinute ? Number(perMinute) : undefined };
}

/** Keys, found by what a request presents. */
export class KeySet implements Iterable<ApiKey> {
  readonly #byHash: ReadonlyMap<string, ApiKey>;

  /** Several keys may have one name, for a change of keys. @throws Error when the same key is there twice */
  constructor(keys: readonly ApiKey[]) {
    this.#byHash = new Map(keys.map((key) => [key.hash, key]));
    if (this.#byHash.size < keys.length) throw new Error('the same key is there twice');
  }

  get size(): number {
    return this.#byHash.size;
  }

  /**
   * The key that was presented. It takes as long with 10,000 keys as with one. The time tells at most how far the hash of a guess
   * agrees with that of a key, and nobody can choose guesses by their hashes: a key is 256 random bits.
   */
  find(presented: string): ApiKey | undefined {
    return this.#byHash.get(hashOf(presented));
  }

  /** Whether a key is still good for what it was good for before. */
  has({ hash, name }: ApiKey): boolean {
    return this.#byHash.get(hash)?.name === name;
  }

  [Symbol.iterator](): Iterator<ApiKey> {
    return this.#byHash.values();
  }
}

const hashOf = (key: string): string => hash('sha256', key, 'hex');
