/**
 * Outcomes of jobs: one record each in Redis, written once by settle.lua and kept for RESULT_TTL_S. Callers see the record, not
 * BullMQ's bookkeeping: BullMQ has no canceled or expired state and cannot remove an active job.
 */
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { isFinal, JOB_TRANSITIONS, type FinalStatus, type JobStatus } from '../../contract/states.ts';
import { jobRecordSchema, type Job, type JobPayload, type JobRecord } from '../../contract/jobs.ts';
import type { jobEvents } from '../../contract/webhooks.ts';
import { eventId, parseJobId } from '../../contract/ids.ts';
import { isoTime } from '../../contract/iso-time.ts';
import { queueName } from '../queues.ts';
import { MAX_EVENT_BYTES, newDelivery, showWebhook, wants } from '../../contract/events.ts';
import {
  backlogKey,
  backlogTotalsKey,
  deadlinesKey,
  deliveryKey,
  jobDoneChannel,
  jobKey,
  jobListKey,
  outboxKey,
  ownersKey,
} from '../../redis/keys.ts';
import { defineScript, noReply } from '../../redis/scripts.ts';
import { RedisStore } from '../redis-store.ts';

/**
 * Replaces the record of a job that was deleted after it had finished: a late result of a second run finds the key taken and is
 * discarded, so a deleted job never comes back. It holds neither texts nor labels, and expires when the record would have.
 */
const TOMBSTONE = '';

/** Records up to this size are published along with the id; waiters fetch larger ones. */
const MAX_INLINE_RECORD_BYTES = 8192;

/** Ends each job id and each record in a message. JSON.stringify puts none inside a record. */
const SEPARATOR = '\n';

/** Most outcomes that one call of the script records, because it must not block Redis for long. */
const MAX_SETTLED_AT_ONCE = 64;

const SETTLE = defineScript(new URL('./settle.lua', import.meta.url), z.array(z.string().nullable()));

const RECORD_ANSWERED = defineScript(new URL('./record-answered.lua', import.meta.url), noReply);

/** A job that was answered without a queue. */
export interface AnsweredJob {
  id: string;
  /** Number of texts. */
  texts: number;
  record: JobRecord;
}

interface PendingSettle {
  id: string;
  record: JobRecord;
  json: string;
  notify: string | undefined;
  early: string | undefined;
  resolve: (outcome: SettleOutcome) => void;
  reject: (error: unknown) => void;
}

export type SettleOutcome = { settled: true } | { settled: false; existing: JobRecord | 'deleted' };

export class JobRecords extends RedisStore {
  readonly #ttlS: number;
  readonly #deliveryWindowS: number;
  #pending: PendingSettle[] = [];
  /** A call of settle.lua is under way or scheduled. */
  #settling = false;

  /**
   * @param ttlS seconds that a record is kept
   * @param deliveryWindowS longest time in seconds that a webhook delivery may take; results too large to send inline are kept
   *   this much longer
   */
  constructor(redis: Redis, prefix: string, ttlS: number, deliveryWindowS = 0) {
    super(redis, prefix);
    this.#ttlS = ttlS;
    this.#deliveryWindowS = Math.ceil(deliveryWindowS);
  }

  #key(id: string): string {
    return jobKey(this.prefix, id);
  }

  get deadlinesKey(): string {
    return deadlinesKey(this.prefix);
  }

  /** The channel that the end of a job is announced on. @param notify channel of the API instance that waits for it, if any */
  announcedOn(id: string, notify: string | undefined): string {
    return notify ?? jobDoneChannel(this.prefix, id);
  }

  /**
   * Records the outcome of a job, unless it has one already.
   * @param notify channel of the API instance that waits for it, if any
   * @param early channel on which the outcome is announced before it is recorded, if any: recording waits for the disk. When another
   *   outcome has won meanwhile, the announced one was wrong.
   */
  settle(
    id: string,
    record: JobRecord,
    { notify, early }: Pick<JobPayload, 'notify' | 'early'> = {},
  ): Promise<SettleOutcome> {
    const { status, started } = record;
    if (!isFinal(status)) return Promise.reject(new Error(`${status} is not a final state. This is a bug.`));
    if (!JOB_TRANSITIONS[started === undefined ? 'queued' : 'processing'].includes(status))
      return Promise.reject(new Error(`a job that was not started cannot become ${status}. This is a bug.`));
    return new Promise((resolve, reject) => {
      this.#pending.push({ id, record, json: JSON.stringify(record), notify, early, resolve, reject });
      if (this.#settling) return;
      this.#settling = true;
      process.nextTick(() => void this.#settlePending());
    });
  }

  /**
   * Settles jobs in groups: those of one micro-batch end in one turn of the event loop, and those that end while Redis writes
   * earlier outcomes follow together.
   */
  async #settlePending(): Promise<void> {
    while (this.#pending.length > 0) await this.#settleTogether(this.#pending.splice(0, MAX_SETTLED_AT_ONCE));
    this.#settling = false;
  }

  /** Resolves once each of the jobs was told its outcome. */
  async #settleTogether(some: readonly PendingSettle[]): Promise<void> {
    try {
      // While several jobs end together, Redis writes in every turn, and a message waits for the disk as a record does.
      if (some.length === 1) await this.#announceEarly(some[0] as PendingSettle);
      const existing = await this.#runSettle(some);
      some.forEach(({ resolve }, i) => {
        const record = existing[i];
        resolve(record == null ? { settled: true } : { settled: false, existing: parseRecord(record) });
      });
    } catch (error) {
      // Changes nothing for jobs that were told theirs before a record could not be parsed.
      for (const { reject } of some) reject(error);
    }
  }

  /**
   * Announces an outcome whose caller needs no record. Redis sends a message at once only while it has nothing to write to disk, so
   * the record follows when this has been sent. A lost message costs nothing but time, because the record is announced as well.
   */
  async #announceEarly({ id, json, early }: PendingSettle): Promise<void> {
    if (early === undefined || json.length > MAX_INLINE_RECORD_BYTES) return;
    await this.redis.publish(early, id + SEPARATOR + json).catch(() => {});
  }

  /**
   * Announces the outcome of a direct call, and records nothing.
   * @param record undefined: this worker does not run the job
   */
  async announce({ id, early }: Pick<JobPayload, 'id' | 'early'>, record?: JobRecord): Promise<void> {
    if (early === undefined) return;
    await this.redis.publish(early, id + SEPARATOR + (record === undefined ? '' : JSON.stringify(record)));
  }

  /**
   * Records jobs that were answered without a queue.
   * @param queue the one that they would have been in
   * @param jobs at least one
   */
  recordAnswered(queue: string, jobs: readonly AnsweredJob[]): Promise<void> {
    const owners = [...new Set(jobs.map(({ record }) => record.owner))];
    return RECORD_ANSWERED.run(
      this.redis,
      { totals: backlogTotalsKey(this.prefix), owners: ownersKey(this.prefix) },
      { queue, ttlS: this.#ttlS, ownerCount: owners.length },
      {
        keys: [
          ...owners.map((owner) => jobListKey(this.prefix, owner)),
          ...jobs.map(({ id }) => this.#key(id)),
        ],
        args: [
          ...owners,
          ...jobs.flatMap(({ id, texts, record }) => [
            id,
            owners.indexOf(record.owner) + 1,
            texts,
            JSON.stringify(record),
          ]),
        ],
      },
    );
  }

  /** @returns for each job the record that existed, null when there was none */
  #runSettle(some: readonly PendingSettle[]): Promise<(string | null)[]> {
    const records = some.map(({ json }) => json);
    const events = some.map(({ id, record }, i) => toEvent(id, record, records[i] as string));
    const deliveries = events.flatMap((event) =>
      event === undefined ? [] : [deliveryKey(this.prefix, event[0] as string)],
    );
    const queues = some.map(({ id }) => queueOf(id));
    const distinct = [...new Set(queues)];
    return SETTLE.run(
      this.redis,
      {
        deadlines: this.deadlinesKey,
        outbox: outboxKey(this.prefix),
        totals: backlogTotalsKey(this.prefix),
      },
      { maxInline: MAX_INLINE_RECORD_BYTES, queueCount: distinct.length, jobCount: some.length },
      {
        keys: [
          ...distinct.map((queue) => backlogKey(this.prefix, queue)),
          ...some.map(({ id }) => this.#key(id)),
          ...deliveries,
        ],
        args: [
          ...distinct,
          ...some.flatMap(({ id, record, notify }, i) => [
            id,
            distinct.indexOf(queues[i] as string) + 1,
            records[i] as string,
            this.#ttlS +
              (events[i] !== undefined && mayBeThin(records[i] as string) ? this.#deliveryWindowS : 0),
            this.announcedOn(id, notify),
            record.expires === undefined ? '' : '1',
            events[i] === undefined ? '' : JSON.stringify(events[i]),
          ]),
        ],
      },
    );
  }

  /** Outcomes of jobs, in the order of `ids`; undefined for jobs that have no outcome yet, or whose record has expired. */
  async read(ids: string[]): Promise<(JobRecord | 'deleted' | undefined)[]> {
    const found = await this.#readAll(ids);
    return found.map((record) => (record === null ? undefined : parseRecord(record)));
  }

  /** MGET, which Redis refuses without a key. */
  async #readAll(ids: string[]): Promise<(string | null)[]> {
    return ids.length === 0 ? [] : this.redis.mget(ids.map((id) => this.#key(id)));
  }

  /** Outcomes with a status, by id. Other records are not parsed, because their results may be large. */
  async readWithStatus(ids: string[], status: JobStatus): Promise<Map<string, JobRecord>> {
    const found = await this.#readAll(ids);
    const matching = new Map<string, JobRecord>();
    found.forEach((json, i) => {
      if (json?.includes(`"status":"${status}"`) !== true) return;
      const record = parseRecord(json);
      if (record !== 'deleted' && record.status === status) matching.set(ids[i] as string, record);
    });
    return matching;
  }

  /** Jobs without an outcome, in the order of `ids`. A deleted job has one. */
  async withoutOutcome(ids: string[]): Promise<string[]> {
    const found = await Promise.all(ids.map((id) => this.exists(id)));
    return ids.filter((_, i) => !found[i]);
  }

  /** Whether a job has an outcome. A deleted job has one. */
  async exists(id: string): Promise<boolean> {
    return (await this.redis.exists(this.#key(id))) === 1;
  }

  /** Keeps a finished job at least until `time` (Unix ms). */
  async keepUntil(id: string, time: number): Promise<void> {
    await this.redis.pexpireat(this.#key(id), time, 'GT');
  }

  /** Keeps a finished job at most until `time` (Unix ms). */
  async keepNoLongerThan(id: string, time: number): Promise<void> {
    await this.redis.pexpireat(this.#key(id), time, 'LT');
  }

  /** Deletes the content of a finished job. @returns false when there was none */
  async delete(id: string): Promise<boolean> {
    const previous = await this.redis.call('SET', this.#key(id), TOMBSTONE, 'XX', 'GET', 'KEEPTTL');
    return previous !== null && previous !== TOMBSTONE;
  }
}

/** Name of the queue in a job's id. */
function queueOf(id: string): string {
  const parts = parseJobId(id);
  if (!parts) throw new Error(`${id} is no job id. This is a bug.`);
  return queueName(parts.priority, parts.model);
}

/** The event of a job's end as settle.lua takes it; undefined when the job has no webhook for it. */
function toEvent(id: string, record: JobRecord, json: string): string[] | undefined {
  const { status, owner, finished, webhook } = record;
  const type = jobEventType(status);
  if (!wants(webhook, type)) return undefined;
  // Results that are too large for the event are not stored a second time. An event is the record without the webhook, and some more.
  const snapshot =
    json.length - JSON.stringify(webhook).length <= MAX_EVENT_BYTES
      ? ''
      : JSON.stringify({
          ...record,
          results: undefined,
          texts: record.results?.length ?? record.texts,
          failed: countErrors(record),
        });
  return [eventId(id, finished), ...newDelivery(type, id, owner, webhook, finished), 'snapshot', snapshot];
}

/** Whether the event of a record may be sent without results: it also has URLs and names that the record has not. */
const mayBeThin = (json: string): boolean => Buffer.byteLength(json) > MAX_EVENT_BYTES / 2;

function jobEventType(status: JobStatus): (typeof jobEvents)[number] {
  return `job.${status as FinalStatus}`;
}

function countErrors({ results }: JobRecord): number {
  return results?.filter((row) => 'error' in row).length ?? 0;
}

function parseRecord(json: string): JobRecord | 'deleted' {
  return json === TOMBSTONE ? 'deleted' : jobRecordSchema.parse(JSON.parse(json));
}

/**
 * Outcomes in a message of settle.lua; a record is undefined when it was too large to be published.
 * @param isAwaited others are left out, and not parsed
 */
export function parseDoneMessage(
  message: string,
  isAwaited: (id: string) => boolean,
): { id: string; record: JobRecord | undefined }[] {
  const lines = message.split(SEPARATOR);
  const outcomes = [];
  for (let i = 0; i + 1 < lines.length; i += 2) {
    const id = lines[i] as string;
    if (!isAwaited(id)) continue;
    const json = lines[i + 1] as string;
    outcomes.push({
      id,
      record: json === '' ? undefined : jobRecordSchema.parse(JSON.parse(json)),
    });
  }
  return outcomes;
}

/** How a job ended: the members of its record that its payload does not have. */
export type Outcome = { status: FinalStatus } & Pick<
  JobRecord,
  'started' | 'finished' | 'revision' | 'results' | 'error'
>;

/** The record of a job that has ended. */
export function toRecord(payload: Omit<JobPayload, 'id'>, outcome: Outcome): JobRecord {
  const { owner, texts, created_at: created, expires_at: expires, metadata, webhook } = payload;
  const count = outcome.results === undefined ? texts.length : undefined;
  return { v: 1, owner, created, ...outcome, expires, texts: count, metadata, webhook };
}

/** A finished job as the API shows it. */
export function toJob(id: string, record: JobRecord): Job {
  const { status, created, started, finished, expires, revision, error, metadata, webhook } = record;
  const { results, texts = results?.length ?? null } = record;
  const parts = parseJobId(id);
  // A clock that was set back must not make a duration negative.
  const span = (from: number, to: number) => Math.max(0, to - from);
  return {
    id,
    status,
    model: { name: parts?.model ?? '', revision: revision ?? null },
    created_at: isoTime(created),
    started_at: started === undefined ? null : isoTime(started),
    finished_at: isoTime(finished),
    expires_at: expires === undefined ? null : isoTime(expires),
    priority: parts?.priority ?? 'normal',
    text_count: texts,
    results: results ?? null,
    failed_texts: countErrors(record),
    error: error ?? null,
    metadata: metadata ?? null,
    webhook: showWebhook(
      'job',
      webhook,
      wants(webhook, jobEventType(status)) ? eventId(id, finished) : undefined,
    ),
    timings_ms: {
      queue: span(created, started ?? finished),
      inference: started === undefined ? 0 : span(started, finished),
      total: span(created, finished),
    },
    urls: { self: selfUrl(id) },
  };
}

export function selfUrl(id: string): string {
  return `/v1/jobs/${id}`;
}
