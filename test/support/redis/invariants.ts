/** Invariants of the whole Redis once no work is in progress: which keys may remain. */
import { Redis } from 'ioredis';
import * as names from '../../../src/shared/redis/keys.ts';
import { eventually } from '../processes/stack.ts';

/** What BullMQ keeps about a queue itself. */
const QUEUE_KEY =
  /^(?:(?:classify|low|bulk)-[^:]+|deliveries):(?:meta|id|stalled|stalled-check|marker|events)$/;

/** Every key of redis/keys.ts as a pattern of names without the prefix. */
const KEYS = Object.values(names).flatMap((name) =>
  name.structure === 'channel'
    ? []
    : [{ ...name, pattern: new RegExp(`^${name('', '*', '*').slice(1).replaceAll('*', '[^:]+')}$`) }],
);

/**
 * Nothing is in a queue, nobody holds a lease, every key is one of redis/keys.ts, has its structure, and ends if it is to end.
 * @returns what is wrong, in words
 */
export async function whatIsLeft(redisUrl: string, prefix: string): Promise<string[]> {
  const redis = new Redis(redisUrl);
  const wrong: string[] = [];
  try {
    const keys: string[] = [];
    // Braces are no special characters of a pattern.
    for await (const page of redis.scanStream({ match: `${prefix}:*`, count: 1000 }))
      keys.push(...(page as string[]));
    for (const key of new Set(keys)) {
      const name = key.slice(prefix.length + 1);
      if (/:(wait|active|delayed|paused|prioritized|failed|completed)$/.test(name)) {
        wrong.push(`jobs are left in ${name}`);
        continue;
      }
      if (name.endsWith(':lock')) {
        wrong.push(`a lease is held: ${name}`);
        continue;
      }
      const known = KEYS.find(({ pattern }) => pattern.test(name));
      if (known) {
        const structure = await redis.type(key);
        // It may have expired since it was found.
        if (structure !== known.structure && structure !== 'none')
          wrong.push(`${name} is a ${structure} instead of a ${known.structure}`);
        if (known.lifetime === 'lasting') continue;
      }
      if (!QUEUE_KEY.test(name) && (await redis.ttl(key)) === -1) wrong.push(`${name} stays for ever`);
    }
    if ((await redis.xlen(names.outboxKey(prefix))) > 0) wrong.push('events are left in the outbox');
    if ((await redis.scard(names.runningBatchesKey(prefix))) > 0) wrong.push('batches are still running');
    for (const [of, count] of Object.entries(await redis.hgetall(names.backlogTotalsKey(prefix))))
      if (!of.startsWith('ended ') && count !== '0') wrong.push(`the backlog has ${count} ${of}`);
    if ((await redis.zcard(names.deadlinesKey(prefix))) > 0)
      wrong.push('deadlines of finished jobs are left');
  } finally {
    redis.disconnect();
  }
  return wrong;
}

/** Resolves when nothing is left that should not be. */
export async function nothingLeft(redisUrl: string, prefix: string): Promise<void> {
  await eventually(async () => ((await whatIsLeft(redisUrl, prefix)).length === 0 ? true : undefined));
}
