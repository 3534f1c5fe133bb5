/** What must be true of everything in Redis once nothing is in progress any more. */
import { Redis } from 'ioredis';

/** Keys that stay, of each instance: what is known of models, lists, and what BullMQ keeps about a queue itself. */
const LASTING = [
  /:models$/,
  /:revisions$/,
  /:workers:[^:]+$/,
  /:deadlines$/,
  /:outbox$/,
  /:backlog$/,
  /:owners$/,
  /:jobs:[^:]+$/,
  /:webhooks(-failed)?:[^:]+$/,
  /:webhook-secrets:[^:]+$/,
  /:batches(-open)?:[^:]+$/,
  /:batches-(running|removal|leftovers|bytes)$/,
  /:(?:classify|low|bulk)-[^:]+:(meta|id|stalled|stalled-check|marker|events)$/,
  /:deliveries:(meta|id|stalled|stalled-check|marker|events)$/,
  // A batch, its bits and checksums are removed by the API when their time is up: their end stands in batches-removal.
  /:batch:[^:]+(:done|:checksums)?$/,
];

/**
 * Nothing is in a queue, nobody holds a lease, and nothing stays for ever that is not known to.
 * @returns what is wrong, in words
 */
export async function whatIsLeft(redisUrl: string, prefix: string): Promise<string[]> {
  const redis = new Redis(redisUrl);
  const wrong: string[] = [];
  try {
    const keys: string[] = [];
    // The braces of the prefix are no special characters of a pattern.
    for await (const page of redis.scanStream({ match: `${prefix}:*`, count: 1000 }))
      keys.push(...(page as string[]));
    for (const key of new Set(keys)) {
      const name = key.slice(prefix.length);
      if (/:(wait|active|delayed|paused|prioritized|failed|completed)$/.test(name)) {
        wrong.push(`jobs are left in ${name}`);
        continue;
      }
      if (name.endsWith(':lock')) wrong.push(`a lease is held: ${name}`);
      else if ((await redis.ttl(key)) === -1 && !LASTING.some((pattern) => pattern.test(name)))
        wrong.push(`${name} stays for ever`);
    }
    if ((await redis.xlen(`${prefix}:outbox`)) > 0) wrong.push('events are left in the outbox');
    if ((await redis.scard(`${prefix}:batches-running`)) > 0) wrong.push('batches are still running');
    for (const [of, count] of Object.entries(await redis.hgetall(`${prefix}:backlog`)))
      if (!of.startsWith('ended ') && count !== '0') wrong.push(`the backlog has ${count} ${of}`);
    if ((await redis.zcard(`${prefix}:deadlines`)) > 0) wrong.push('deadlines of finished jobs are left');
  } finally {
    redis.disconnect();
  }
  return wrong;
}
