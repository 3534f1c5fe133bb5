/**
 * Submits jobs, and waits for those that their callers want at once. No HTTP in here.
 *
 * Once submit() has resolved, the job is in Redis and will reach a final state.
 */
import { newGroupId, newJobId, parseJobId, type Priority } from '../../shared/contract/ids.ts';
import type { Job, JobPayload, JobRecord } from '../../shared/contract/jobs.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { tooManyScores } from '../../shared/contract/score-limit.ts';
import { isFinal } from '../../shared/contract/states.ts';
import type { Webhook } from '../../shared/contract/webhooks.ts';
import { jobIdempotencyKey } from '../../shared/redis/keys.ts';
import { redisTime } from '../../shared/redis/time.ts';
import { toJob } from '../../shared/store/jobs/job-records.ts';
import { requireOptions } from '../asked-options.ts';
import { IdempotencyKeys } from '../idempotency.ts';
import type { KnownModel } from '../model-catalog.ts';
import type { Call, DirectCalls } from './direct-calls.ts';
import { sizeOf, type Added, type GroupCommit, type NewPayload } from './group-commit.ts';
import { showUnfinished, type JobReader, type UnfinishedJob } from './job-reader.ts';
import { jobNotFound, type JobService } from './job-service.ts';
import type { Waiters, WaitLimits } from './waiters.ts';
import type { Deps } from '../deps.ts';

export interface JobSubmissionDeps extends Deps<
  'config' | 'redis' | 'withRedis' | 'records' | 'catalog' | 'admission' | 'waiters' | 'tracing'
> {
  reader: JobReader;
  groupCommit: GroupCommit;
  directCalls: DirectCalls;
  jobs: JobService;
  /** Called for every job that was accepted. */
  onSubmit: (model: string, priority: Priority, texts: number) => void;
}

export interface NewJob {
  texts: { id?: string | undefined; text: string }[];
  topK: number | null;
  model?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  priority?: Priority;
  /** Seconds within which it must be started. */
  expiresIn?: number | undefined;
  apply?: JobPayload['apply'];
  threshold?: JobPayload['threshold'];
  truncate?: JobPayload['truncate'];
  webhook?: Webhook | undefined;
  /** The caller that waits takes the outcome before it is on disk, or a direct answer; no other request may rely on it. */
  early?: boolean;
  /** Refuse with `no_worker` while no worker serves the model. */
  needsWorker?: boolean;
  idempotencyKey?: string | undefined;
}

/** A job that was accepted, now or by an earlier request with the same idempotency key. */
export interface Submitted {
  job: Job;
  /** An earlier request made it. */
  replayed: boolean;
}

/** A job that is in its queue, or has ended. */
interface Accepted {
  id: string;
  replayed: boolean;
  /** The channel that its end is announced on. */
  announcedOn: string;
  /** It has its outcome already. */
  ended: boolean;
  /** Shows it as it was accepted. A caller that waits sees its outcome instead. */
  show: () => Job;
}

/** The channels on which the end of a job is announced to this instance. */
type Announced = Pick<Waiters, 'channel' | 'earlyChannel'>;

/** A job on its way into its queue. */
type Entry = Call;

export class JobSubmission {
  readonly #deps: JobSubmissionDeps;
  readonly #idempotencyKeys: IdempotencyKeys;

  constructor(deps: JobSubmissionDeps) {
    this.#deps = deps;
    this.#idempotencyKeys = new IdempotencyKeys(deps, { key: jobIdempotencyKey, content: 'body' });
  }

  async submit(owner: string, input: NewJob): Promise<Submitted> {
    const { replayed, show } = await this.#deps.withRedis(() => this.#submit(owner, input, undefined));
    return { job: show(), replayed };
  }

  /**
   * Submits a job and waits for its end.
   * @returns the job, final unless the time is over, the caller hung up, or the server shuts down
   */
  async submitAndWait(owner: string, input: NewJob, { timeoutMs, signal }: WaitLimits): Promise<Submitted> {
    const { withRedis, waiters, directCalls } = this.#deps;
    const start = performance.now();
    let admitted: Entry | undefined;
    if (input.early && input.idempotencyKey === undefined) {
      const entry = await withRedis(() => this.#admitted(owner, input));
      const job = await directCalls.answer(entry, { timeoutMs, signal });
      if (job) return { job, replayed: false };
      admitted = entry;
    }
    const expectation = new Expectation(waiters);
    const accepted = await withRedis(() =>
      admitted ? this.#add(admitted, expectation) : this.#submit(owner, input, expectation),
    ).catch((error: unknown) => {
      // The job may have been added all the same, but the caller does not know its id.
      expectation.abandon();
      throw error;
    });
    const { id, replayed, announcedOn, ended, show } = accepted;
    if (ended) return { job: show(), replayed };
    const leftMs = timeoutMs - (performance.now() - start);
    const outcome = await waiters.wait(id, { owner, announcedOn, timeoutMs: leftMs, signal });
    if (outcome === 'deleted') throw jobNotFound(id);
    if (outcome) return { job: toJob(id, outcome), replayed };
    // The caller hung up: nothing will be read.
    if (signal?.aborted) return { job: show(), replayed };
    return { job: await this.#readAgain(owner, accepted), replayed };
  }

  /** The job as it is after a wait; as it was accepted, when Redis cannot be reached: it is in the queue all the same. */
  async #readAgain(owner: string, { id, show }: Accepted): Promise<Job> {
    try {
      return await this.#deps.jobs.get(owner, id);
    } catch (error) {
      if (error instanceof AppError && error.code === 'redis_unavailable') return show();
      throw error;
    }
  }

  /** @param expectation of the caller that will wait; undefined: the caller will not */
  async #submit(owner: string, input: NewJob, expectation: Expectation | undefined): Promise<Accepted> {
    const entry = await this.#entry(owner, input, expectation && this.#deps.waiters);
    const { idempotencyKey, ...request } = input;
    if (idempotencyKey !== undefined) return this.#addOnce(entry, { idempotencyKey, request }, expectation);
    await this.#admit(entry);
    return this.#add(entry, expectation);
  }

  /** @param announced channels on which the job's end is announced to this instance; undefined: no caller waits */
  async #entry(owner: string, input: NewJob, announced: Announced | undefined): Promise<Entry> {
    const { catalog, config } = this.#deps;
    const model = await catalog.resolve(input.model);
    if (input.needsWorker && model.workers === 0)
      throw new AppError('no_worker', await catalog.noWorkerFor(model.name), { retryAfterS: 2 });
    if (input.threshold !== undefined) requireOptions(input, ['threshold'], model);
    assertScores(input, model, config.MAX_SCORES_PER_JOB);
    const payload = await this.#payload(owner, input, announced);
    return { model, priority: input.priority ?? 'normal', payload };
  }

  /** A job that may enter its queue, and whose caller waits. */
  async #admitted(owner: string, input: NewJob): Promise<Entry> {
    const entry = await this.#entry(owner, input, this.#deps.waiters);
    await this.#admit(entry);
    return entry;
  }

  /** Adds a job that was admitted. */
  async #add(entry: Entry, expectation: Expectation | undefined): Promise<Accepted> {
    const { groupCommit, waiters } = this.#deps;
    const { model, priority, payload } = entry;
    const load = { workers: model.workers, awaited: waiters.size };
    const { id, added } = groupCommit.add(priority, model.name, payload, load);
    expectation?.begin(id, payload.early !== undefined);
    return this.#finish(entry, id, added);
  }

  /**
   * Adds a job under the id that is reserved for its idempotency key. The id is reserved before anything is added, so a repeat
   * after a crash, a timeout or a race adds under the same id, which BullMQ does only once.
   */
  async #addOnce(
    entry: Entry,
    { idempotencyKey, request }: { idempotencyKey: string; request: NewJob },
    expectation: Expectation | undefined,
  ): Promise<Accepted> {
    const { admission, groupCommit, jobs } = this.#deps;
    const { model, priority, payload } = entry;
    const { owner } = payload;
    const fresh = newJobId(newGroupId(priority, model.name));
    // A request that is refused below must not leave its key in a Redis that is nearly full.
    const reserved = (await admission.hasRoom(priority))
      ? await this.#idempotencyKeys.reserve(owner, idempotencyKey, fresh, request)
      : await this.#idempotencyKeys.find(owner, idempotencyKey, request);
    if (reserved !== undefined) {
      const found = await jobs.readAndSettle(reserved);
      if (found === 'deleted')
        throw new AppError('job_not_found', `the job ${reserved} of this Idempotency-Key was deleted`);
      if (found) return this.#replay(reserved, found);
    }
    await this.#admit(entry);
    const id = reserved ?? fresh;
    if (reserved === undefined) expectation?.begin(id);
    const group = parseJobId(id)?.group ?? id;
    const added = groupCommit.addAlone(priority, model.name, group, { id, ...payload });
    const accepted = await this.#finish(entry, id, added);
    if (reserved === undefined) return accepted;
    // The request that reserved the id may have added the job first, and have its end announced on another channel.
    const found = await jobs.readAndSettle(id);
    return found === undefined || found === 'deleted' ? accepted : this.#replay(id, found, false);
  }

  async #replay(id: string, found: JobRecord | UnfinishedJob, replayed = true): Promise<Accepted> {
    const { reader, records } = this.#deps;
    const announcedOn = records.announcedOn(id, 'v' in found ? undefined : found.payload.notify);
    const job = await reader.show(id, found);
    return { id, replayed, announcedOn, ended: isFinal(job.status), show: () => job };
  }

  #admit({ model, priority, payload }: Entry): Promise<void> {
    return this.#deps.admission.admit(priority, model.name, sizeOf(payload.texts));
  }

  async #finish({ model, priority, payload }: Entry, id: string, added: Promise<Added>): Promise<Accepted> {
    const { redis, records, onSubmit } = this.#deps;
    const { expires_at } = payload;
    const [{ ahead }] = await Promise.all([
      added,
      expires_at === undefined ? undefined : redis.zadd(records.deadlinesKey, expires_at, id),
    ]);
    onSubmit(model.name, priority, payload.texts.length);
    const { workers } = model;
    const show = () => showUnfinished(id, { status: 'queued', payload, startedAt: null }, { workers, ahead });
    return { id, replayed: false, announcedOn: records.announcedOn(id, payload.notify), ended: false, show };
  }

  async #payload(owner: string, input: NewJob, announced: Announced | undefined): Promise<NewPayload> {
    const { redis, tracing } = this.#deps;
    const { texts, topK, apply, threshold, truncate, metadata, webhook, expiresIn, early } = input;
    const trace = tracing.current();
    return {
      owner,
      texts: texts.map(({ id, text }) => (id === undefined ? { text } : { id, text })),
      top_k: topK,
      ...(apply === undefined ? {} : { apply }),
      ...(threshold === undefined ? {} : { threshold }),
      ...(truncate === undefined ? {} : { truncate }),
      ...(metadata === undefined ? {} : { metadata }),
      ...(webhook === undefined ? {} : { webhook }),
      created_at: Date.now(),
      ...(expiresIn === undefined ? {} : { expires_at: (await redisTime(redis)) + expiresIn * 1000 }),
      ...(announced === undefined ? {} : { notify: announced.channel }),
      ...(announced === undefined || !early ? {} : { early: announced.earlyChannel }),
      ...(trace === undefined ? {} : { trace }),
    };
  }
}

/**
 * Has the end of a job recorded from before it is added until its caller waits for it. A caller whose deadline passed meanwhile
 * will never wait: nothing may be recorded for it.
 */
class Expectation {
  readonly #waiters: Waiters;
  #id: string | undefined;
  #abandoned = false;

  constructor(waiters: Waiters) {
    this.#waiters = waiters;
  }

  begin(id: string, early = false): void {
    if (this.#abandoned) return;
    this.#id = id;
    this.#waiters.expect(id, early);
  }

  abandon(): void {
    this.#abandoned = true;
    if (this.#id !== undefined) this.#waiters.forget(this.#id);
  }
}

/** While the labels of the model are not known, the worker checks instead. @throws AppError `too_many_scores` */
function assertScores({ texts, topK }: NewJob, { labels }: KnownModel, limit: number): void {
  if (labels === undefined) return;
  const problem = tooManyScores({ texts: texts.length, topK, labels: labels.length }, limit);
  if (problem !== undefined) throw new AppError('too_many_scores', problem);
}
