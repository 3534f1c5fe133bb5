/**
 * Secrets that sign deliveries: without API keys those of the settings, otherwise those of the key that submitted the job, which
 * are kept in Redis and can be replaced.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { AppError } from '../../contract/problems.ts';
import { EVERYBODY } from '../../contract/owner.ts';
import { secretsKey } from '../../redis/keys.ts';
import { defineScript } from '../../redis/scripts.ts';
import { newSecret } from '../../runtime/webhook-secret.ts';

/** Every webhook is signed with all valid secrets, in one header. */
export const MAX_SECRETS = 5;

export interface Secret {
  secret: string;
  /** Unix ms until which it signs; undefined for the current one. */
  until: number | undefined;
}

const ROTATE = defineScript(new URL('./rotate-secret.lua', import.meta.url), z.array(z.string()));

export interface SecretOptions {
  redis: Redis;
  prefix: string;
  /** Secrets of the settings, the current one first. */
  keyless: readonly string[];
  overlapMs: number;
}

export class Secrets {
  readonly #options: SecretOptions;

  constructor(options: SecretOptions) {
    this.#options = options;
  }

  /** The secrets that an owner's webhooks are signed with, the current one first. Creates the first one. */
  of(owner: string): Promise<Secret[]> {
    if (owner === EVERYBODY) {
      return Promise.resolve(this.#options.keyless.map((secret) => ({ secret, until: undefined })));
    }
    return this.#rotate(owner, newSecret(), true);
  }

  /**
   * Gives an owner (not EVERYBODY) a new secret; earlier ones stay valid for a while.
   * @throws AppError `rate_limited` while MAX_SECRETS are valid
   */
  async rotate(owner: string): Promise<Secret[]> {
    const fresh = newSecret();
    const secrets = await this.#rotate(owner, fresh, false);
    if (secrets[0]?.secret === fresh) return secrets;
    const freeAt = secrets.at(-1)?.until ?? Date.now();
    throw new AppError(
      'rate_limited',
      `${MAX_SECRETS} secrets are valid already; another one can be made when the oldest expires, at ${new Date(freeAt).toISOString()}`,
      { retryAfterS: Math.max(1, Math.ceil((freeAt - Date.now()) / 1000)) },
    );
  }

  async #rotate(owner: string, fresh: string, onlyFirst: boolean): Promise<Secret[]> {
    const { redis, prefix, overlapMs } = this.#options;
    const now = Date.now();
    const fields = await ROTATE.run(
      redis,
      { secrets: secretsKey(prefix, owner) },
      { fresh, now, overlapMs, onlyFirst: onlyFirst ? '1' : '', max: MAX_SECRETS },
    );
    const secrets: Secret[] = [];
    for (let i = 0; i < fields.length; i += 2) {
      const until = fields[i + 1] === '' ? undefined : Number(fields[i + 1]);
      if (until === undefined || until > now) secrets.push({ secret: fields[i] as string, until });
    }
    return secrets.sort((a, b) => (b.until ?? Infinity) - (a.until ?? Infinity));
  }
}
