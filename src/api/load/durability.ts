/** Durability: how much a crash of this Redis can lose, as its own settings tell. */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import type { Logger } from '../../shared/runtime/logger.ts';

/** The settings are null when Redis refuses CONFIG, as managed ones often do; `note` is the same in a sentence. */
export const durabilitySchema = z.object({
  appendonly: z.boolean().nullable(),
  appendfsync: z.string().nullable(),
  maxmemory_policy: z.string().nullable(),
  note: z.string(),
});
export type Durability = z.infer<typeof durabilitySchema>;

/** Reads the settings at every new connection, and logs them when they have changed. @returns what was read last */
export function watchDurability(redis: Redis, logger: Logger): () => Durability | undefined {
  let durability: Durability | undefined;
  redis.on('ready', () => {
    readDurability(redis).then(
      (read) => {
        if (durability?.note !== read.note) reportDurability(read, logger);
        durability = read;
      },
      () => {},
    );
  });
  return () => durability;
}

async function readDurability(redis: Redis): Promise<Durability> {
  const get = async (name: string): Promise<string | null> => {
    try {
      const reply: unknown = await redis.call('CONFIG', 'GET', name);
      if (Array.isArray(reply)) return typeof reply[1] === 'string' ? reply[1] : null;
      return reply !== null && typeof reply === 'object'
        ? ((reply as Record<string, string>)[name] ?? null)
        : null;
    } catch {
      return null;
    }
  };
  const [appendonly, appendfsync, policy] = await Promise.all([
    get('appendonly'),
    get('appendfsync'),
    get('maxmemory-policy'),
  ]);
  return {
    appendonly: appendonly === null ? null : appendonly === 'yes',
    appendfsync,
    maxmemory_policy: policy,
    note: describe(appendonly, appendfsync, policy),
  };
}

function describe(appendonly: string | null, appendfsync: string | null, policy: string | null): string {
  if (policy !== null && policy !== 'noeviction') {
    return `maxmemory-policy is ${policy}: Redis may drop accepted jobs when memory is short; set it to noeviction`;
  }
  if (appendonly === null) return 'this Redis does not reveal its persistence settings';
  if (appendonly !== 'yes') return 'appendonly is off: a Redis crash loses accepted jobs';
  if (appendfsync === 'always') return 'every accepted job is on disk before it is acknowledged';
  return `appendfsync is ${appendfsync}: a Redis crash may lose up to two seconds of accepted jobs`;
}

function reportDurability(durability: Durability, logger: Logger): void {
  const { maxmemory_policy: policy, appendfsync, appendonly, note } = durability;
  const risky =
    (policy !== null && policy !== 'noeviction') ||
    appendonly === false ||
    (appendonly && appendfsync !== 'always');
  logger[risky ? 'warn' : 'info']({ policy, appendfsync }, `durability: ${note}`);
}
