/**
 * Whose deliveries are signed with what: without API keys with the secrets of the settings, else with those of the key
 * that submitted the job, which are kept in Redis and can be replaced.
 */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { AppError } from '../../contract/problems.ts';
import { EVERYBODY } from '../../contract/owner.ts';
import { secretsKey } from '../../redis/keys.ts';
import { newSecret } from '../../runtime/webhook-secret.ts';

/** Every webhook is signed with all of them, in one header. */
export const MAX_SECRETS = 5;

export interface Secret {
  secret: string;
  /** Unix ms until which it signs; undefined: it is the current one. */
  until: number | undefined;
}

interface RedisWithRotate extends Redis {
  amuletRotate(key: string, ...args: (string | number)[]): Promise<string[]>;
}

export interface SecretOptions {
  redis: Redis;
  prefix: string;
  /** Of the settings, the current one first. */
  keyless: readonly string[];
  overlapMs: number;
}

export class Secrets {
  readonly #options: SecretOptions;
  readonly #redis: RedisWithRotate;

  constructor(options: SecretOptions) {
    options.redis.defineCommand('amuletRotate', {
      numberOfKeys: 1,
      lua: readFileSync(new URL('./rotate.lua', import.meta.url), 'utf8'),
    });
    this.#options = options;
    this.#redis = options.redis as RedisWithRotate;
  }

  /** The secrets that an owner's webhooks are signed with, the current one first. An owner without one gets one. */
  of(owner: string): Promise<Secret[]> {
    if (owner === EVERYBODY) {
      return Promise.resolve(this.#options.keyless.map((secret) => ({ secret, until: undefined })));
    }
    return this.#rotate(owner, newSecret(), true);
  }

  /**
   * Gives an owner (not EVERYBODY) a new secret; the ones before go on signing for a while.
   * @throws AppError `rate_limited` while MAX_SECRETS sign
   */
  async rotate(owner: string): Promise<Secret[]> {
    const fresh = newSecret();
    const secrets = await this.#rotate(owner, fresh, false);
    if (secrets[0]?.secret === fresh) return secrets;
    const freeAt = secrets.at(-1)?.until ?? Date.now();
    throw new AppError(
      'rate_limited',
      `${MAX_SECRETS} secrets sign already; the next can be made when the oldest ends, at ${new Date(freeAt).toISOString()}`,
      { retryAfterS: Math.max(1, Math.ceil((freeAt - Date.now()) / 1000)) },
    );
  }

  async #rotate(owner: string, fresh: string, onlyFirst: boolean): Promise<Secret[]> {
    const { prefix, overlapMs } = this.#options;
    const now = Date.now();
    const key = secretsKey(prefix, owner);
    const fields = await this.#redis.amuletRotate(
      key,
      fresh,
      now,
      overlapMs,
      onlyFirst ? '1' : '',
      MAX_SECRETS,
    );
    const secrets: Secret[] = [];
    for (let i = 0; i < fields.length; i += 2) {
      const until = fields[i + 1] === '' ? undefined : Number(fields[i + 1]);
      if (until === undefined || until > now) secrets.push({ secret: fields[i] as string, until });
    }
    return secrets.sort((a, b) => (b.until ?? Infinity) - (a.until ?? Infinity));
  }
}
