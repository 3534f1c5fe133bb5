/**
 * Names of all keys and channels in Redis, and the data structures behind them.
 *
 * A job waits in a queue of BullMQ (store/queues.ts) with the other jobs of its request, and stands in the backlog of that
 * queue, on the list of its owner and, if it may expire, in the deadlines. Its outcome is one string, written once: the
 * same script takes it out of backlog and deadlines.
 *
 * A batch is a hash; its parts are a second hash until its input is complete, its chunks a bit and a checksum each. Four
 * structures list the work that remains: batches that are open (by owner), running, due for removal, and removed while their
 * blobs are still there.
 *
 * An event is an id in the outbox, a stream, and the hash of its delivery. A webhook process moves it from there into the
 * deliveries queue of BullMQ.
 *
 * Every function takes REDIS_PREFIX first. A name never changes: a Redis is taken over from the version before.
 * docs/architecture.md, deploy/redis/users.acl and test/support/invariants.ts are compared with this file.
 */

/**
 * State of a key when nothing is in progress: `lasting` keys may stay without a TTL, `expiring` keys have one, and
 * `transient` keys are gone.
 */
type Lifetime = 'lasting' | 'expiring' | 'transient';
type Structure = 'string' | 'hash' | 'list' | 'set' | 'zset' | 'stream' | 'channel';

export interface RedisKey<Args extends string[] = string[]> {
  (prefix: string, ...args: Args): string;
  readonly structure: Structure;
  readonly lifetime: Lifetime;
}

function key<Args extends string[]>(
  structure: Structure,
  lifetime: Lifetime,
  name: (...args: Args) => string,
): RedisKey<Args> {
  return Object.assign((prefix: string, ...args: Args) => `${prefix}:${name(...args)}`, {
    structure,
    lifetime,
  });
}

// Owners

/** Set of all owners who ever had a job or a delivery. Stays. */
export const ownersKey = key('set', 'lasting', () => 'owners');

// Jobs

/** String: outcome of a job, JSON; empty once it was deleted. Ends RESULT_TTL_S after the outcome. */
export const jobKey = key('string', 'expiring', (id: string) => `job:${id}`);

/** Sorted set of an owner's jobs, by id and so by time. Ids without a job are removed every so often. */
export const jobListKey = key('zset', 'lasting', (owner: string) => `jobs:${owner}`);

/** Sorted set of the jobs that must be started in time, by Unix ms. A job leaves with its outcome. */
export const deadlinesKey = key('zset', 'lasting', () => 'deadlines');

/** Set of jobs that the API ends and that may still be in their queue (jobs/queue-set.ts). A job leaves when it is in none. */
export const leavingKey = key('set', 'transient', () => 'leaving');

/** Sorted set of a queue's jobs without an outcome (jobs/backlog.ts). A job leaves with its outcome. */
export const backlogKey = key('zset', 'transient', (queue: string) => `backlog:${queue}`);

/**
 * Hash of the sizes of all backlogs: `texts <queue>`, `bytes <queue>`, and `ended <queue>` for texts that ever left one. Stays.
 */
export const backlogTotalsKey = key('hash', 'lasting', () => 'backlog');

/** String: `<hash of the request> <job id>` of an Idempotency-Key. Ends after IDEMPOTENCY_TTL_S. */
export const jobIdempotencyKey = key(
  'string',
  'expiring',
  (owner: string, hash: string) => `idem:${owner}:${hash}`,
);

/** String: requests of an API key in this minute. Ends with the minute. */
export const rateKey = key('string', 'expiring', (apiKey: string) => `rate:${apiKey}`);

// Batches

/** Hash: state and counts of a batch (batches/batch-record.ts). Removed BATCH_TTL_S after the batch ended. */
export const batchKey = key('hash', 'lasting', (id: string) => `batch:${id}`);

/** Hash of the parts of an open batch, by number, JSON. Deleted when its input is complete. */
export const batchPartsKey = key('hash', 'transient', (id: string) => `batch:${id}:parts`);

/** String: a bit per chunk, 1 = finished; chunk 0 is the highest bit of the first byte. Removed with the batch. */
export const batchDoneKey = key('string', 'lasting', (id: string) => `batch:${id}:done`);

/** String: 12 bytes per finished chunk (batches/results.ts), then its rows by label (batches/tally.lua). Removed with the batch. */
export const batchChecksumsKey = key('string', 'lasting', (id: string) => `batch:${id}:checksums`);

/** Sorted set of an owner's batches, by id and so by time. A batch leaves when it is removed. */
export const batchListKey = key('zset', 'lasting', (owner: string) => `batches:${owner}`);

/** Hash of an owner's open batches: id → number of parts. A batch leaves when it is no longer open. */
export const openBatchesKey = key('hash', 'lasting', (owner: string) => `batches-open:${owner}`);

/** Set of the batches that are queued or processing. A batch leaves when it ends. */
export const runningBatchesKey = key('set', 'lasting', () => 'batches-running');

/** Sorted set of open and ended batches, by the Unix ms at which they expire or are removed. */
export const batchRemovalKey = key('zset', 'lasting', () => 'batches-removal');

/** Set of the batches that were removed or have expired, and whose blobs may still be there. */
export const batchLeftoversKey = key('set', 'lasting', () => 'batches-leftovers');

/** String: bytes of input that all batches keep. Stays. */
export const storedBytesKey = key('string', 'lasting', () => 'batches-bytes');

/** Sorted set of uploads with a reservation, by the Unix ms at which it ends (batches/reservations.lua). */
export const uploadsKey = key('zset', 'transient', () => 'batches-uploads');

/** Hash of the bytes that uploads have reserved: per upload, per batch, and `total`. Empty without uploads. */
export const reservedBytesKey = key('hash', 'transient', () => 'batches-reserved');

/** String: `<hash of the request> <batch id>` of an Idempotency-Key. Ends after IDEMPOTENCY_TTL_S. */
export const batchIdempotencyKey = key(
  'string',
  'expiring',
  (owner: string, hash: string) => `idem-batch:${owner}:${hash}`,
);

// Webhooks

/** Stream of the ids of events that no webhook process has taken over yet. Empty when all have been. */
export const outboxKey = key('stream', 'lasting', () => 'outbox');

/** Hash: a delivery (deliveries/delivery-record.ts). Ends WEBHOOK_TTL_S after it failed, sooner after it succeeded. */
export const deliveryKey = key('hash', 'expiring', (id: string) => `webhook:${id}`);

/** Sorted set of an owner's deliveries, by id and so by time. Ids without a delivery are removed every so often. */
export const deliveryListKey = key('zset', 'lasting', (owner: string) => `webhooks:${owner}`);

/** Sorted set of an owner's failed deliveries, by id. Ids without a delivery are removed every so often. */
export const failedDeliveriesKey = key('zset', 'lasting', (owner: string) => `webhooks-failed:${owner}`);

/** Hash of an owner's secrets: secret → Unix ms until which it signs, '' = the current one. Stays. */
export const secretsKey = key('hash', 'lasting', (owner: string) => `webhook-secrets:${owner}`);

// Models

/** Hash of every model that was ever served, by name, JSON. Stays. */
export const modelsKey = key('hash', 'lasting', () => 'models');

/** Hash of the Unix ms at which each `<model>@<revision>` last had a worker. Stays. */
export const revisionsKey = key('hash', 'lasting', () => 'revisions');

/** Sorted set of a model's live workers, by the Unix ms (of Redis) at which each counts as dead. */
export const workersKey = key('zset', 'lasting', (model: string) => `workers:${model}`);

// Channels

const channel = <Args extends string[]>(name: (...args: Args) => string): RedisKey<Args> =>
  key('channel', 'transient', name);

/** Channel: ids of canceled jobs and batches, for the workers. */
export const cancelChannel = channel(() => 'canceled');

/** Channel: outcome of one job that was submitted without waiting for it. */
export const jobDoneChannel = channel((id: string) => `done:${id}`);

/** Channel: outcomes of the jobs that were submitted to an API instance by callers who wait. */
export const instanceChannel = channel((instance: string) => `api:${instance}`);

/** Channel: outcomes of jobs of `/predict` and `/hf` at an API instance, before they are on disk. */
export const earlyChannel = channel((instance: string) => `api:${instance}:early`);

/** Channel: direct calls of `/predict` and `/hf` for a worker. Users of Redis who may use the channels above may use it. */
export const callsChannel = channel((worker: string) => `api:calls:${worker}`);

/** Channel: ids of batches that have new results or have ended. */
export const batchProgressChannel = channel(() => 'batch-progress');
