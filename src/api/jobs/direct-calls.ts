/**
 * Direct calls: sends the texts of `/predict` and `/hf` straight to a worker, instead of through the queue.
 *
 * Both routes promise nothing beyond their response, and every step of the queue waits for the disk of Redis: with one client, for
 * longer than the model takes. A worker without room refuses a call, and a lost message, a killed worker or an older one leave it
 * unanswered: the call then goes through the queue, as any job.
 *
 * The job of a call is recorded once it has ended, together with those of other calls, so that lists and sums have it as they have
 * others. A response that names its job waits for that.
 */
import type { Job, JobRecord } from '../../shared/contract/jobs.ts';
import { newGroupId, newJobId, type Priority } from '../../shared/contract/ids.ts';
import { scoresOf } from '../../shared/contract/score-limit.ts';
import { callsChannel, cancelChannel } from '../../shared/redis/keys.ts';
import { repeatedWarnings } from '../../shared/runtime/repeated-warnings.ts';
import { toJob, type AnsweredJob } from '../../shared/store/jobs/job-records.ts';
import { queueName } from '../../shared/store/queues.ts';
import type { Deps } from '../deps.ts';
import type { KnownModel } from '../model-catalog.ts';
import type { NewPayload } from './group-commit.ts';
import { showUnfinished } from './job-reader.ts';
import type { WaitLimits } from './waiters.ts';

/** Most texts and characters of a direct call: those of a small request, which a worker has finished soon. */
const MAX_TEXTS = 8;
const MAX_CHARS = 16_384;
/** Most scores in its outcome, which is one message. */
const MAX_SCORES = 512;
/** Most direct calls of one instance at one worker. */
const MAX_CALLS = 256;

/** A worker has this long to answer before the call goes through the queue: a killed one never does. */
const ANSWER_MS = 1000;
/** How long a worker gets no calls that had no room for one. */
const BUSY_MS = 250;
/** How long one that did not hear or answer: at first, and after it was silent every time. A slow model would make a call wait in vain. */
const SILENT_MS = 5000;
const MAX_SILENT_MS = 320_000;

/** Calls that have ended are recorded after this time, or once there are so many. */
const RECORD_AFTER_MS = 20;
const MAX_UNRECORDED = 64;

export interface DirectCallsDeps extends Deps<
  'redis' | 'prefix' | 'withRedis' | 'records' | 'catalog' | 'waiters' | 'logger'
> {
  /** Called for every job that was answered. */
  onSubmit: (model: string, priority: Priority, texts: number) => void;
}

/** The job of a call. */
export interface Call {
  model: KnownModel;
  priority: Priority;
  payload: NewPayload;
}

/** The calls of this instance at one worker. */
interface Line {
  calls: number;
  /** Until this time (of performance.now()) there are no further ones. */
  closedUntil: number;
  /** How long it is closed when the worker is silent. */
  silentMs: number;
}

const NEW_LINE: Line = { calls: 0, closedUntil: 0, silentMs: SILENT_MS };

export class DirectCalls {
  readonly #deps: DirectCallsDeps;
  readonly #warn: (error: Error) => void;
  /** By worker. One without calls is open. */
  readonly #lines = new Map<string, Line>();
  #turn = 0;
  /** Answered jobs, by queue, and their number. */
  readonly #unrecorded = new Map<string, AnsweredJob[]>();
  #count = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: DirectCallsDeps) {
    this.#deps = deps;
    this.#warn = repeatedWarnings(deps.logger, 'cannot record jobs of /predict and /hf');
  }

  /**
   * Has a worker classify the texts of a job that was admitted.
   * @returns the job, which has ended unless the caller hung up; undefined when no worker answered
   * @throws AppError when an outcome that its caller may read again could not be recorded
   */
  async answer(call: Call, limits: WaitLimits): Promise<Job | undefined> {
    const { withRedis, onSubmit } = this.#deps;
    const { model, priority, payload } = call;
    const worker = isSmall(call) ? await this.#idlest(model.name) : undefined;
    if (worker === undefined) return undefined;
    const id = newJobId(newGroupId(priority, model.name));
    const record = await this.#ask(worker, id, payload, limits);
    if (record === undefined) {
      if (limits.signal?.aborted !== true) return undefined;
      const queueing = { workers: model.workers, ahead: undefined };
      return showUnfinished(id, { status: 'queued', payload, startedAt: null }, queueing);
    }
    onSubmit(model.name, priority, payload.texts.length);
    this.#add(queueName(priority, model.name), { id, texts: payload.texts.length, record });
    if (record.results?.some((row) => 'error' in row) === false) this.#recordSoon();
    else await withRedis(() => this.#record());
    return toJob(id, record);
  }

  /** Records the last calls, if Redis can be reached. */
  close(): Promise<void> {
    return this.#deps.withRedis(() => this.#record()).catch(this.#warn);
  }

  #add(queue: string, job: AnsweredJob): void {
    const jobs = this.#unrecorded.get(queue);
    if (jobs) jobs.push(job);
    else this.#unrecorded.set(queue, [job]);
    this.#count++;
  }

  #recordSoon(): void {
    const record = () => void this.#record().catch(this.#warn);
    if (this.#count >= MAX_UNRECORDED) record();
    else this.#timer ??= setTimeout(record, RECORD_AFTER_MS);
  }

  async #record(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const answered = [...this.#unrecorded];
    this.#unrecorded.clear();
    this.#count = 0;
    await Promise.all(answered.map(([queue, jobs]) => this.#deps.records.recordAnswered(queue, jobs)));
  }

  /** The worker with the fewest calls, in turn; undefined when all have enough. */
  async #idlest(model: string): Promise<string | undefined> {
    const workers = await this.#deps.catalog.workerIds(model);
    const now = performance.now();
    const first = this.#turn++;
    let idlest: string | undefined;
    let fewest = MAX_CALLS;
    for (let i = 0; i < workers.length; i++) {
      const worker = workers[(first + i) % workers.length] as string;
      const { calls, closedUntil } = this.#lines.get(worker) ?? NEW_LINE;
      if (calls >= fewest || now < closedUntil) continue;
      idlest = worker;
      fewest = calls;
    }
    return idlest;
  }

  /** @returns undefined when the worker has no room, or does not answer in time */
  async #ask(
    worker: string,
    id: string,
    payload: NewPayload,
    { timeoutMs, signal }: WaitLimits,
  ): Promise<JobRecord | undefined> {
    const { redis, prefix, waiters } = this.#deps;
    const line = this.#lines.get(worker) ?? { ...NEW_LINE };
    this.#lines.set(worker, line);
    line.calls++;
    let silent = false as boolean;
    const beSilent = () => {
      silent = true;
      waiters.refuse(id);
    };
    const timer = setTimeout(beSilent, Math.min(timeoutMs, ANSWER_MS));
    waiters.expect(id, true);
    const waiting = waiters.wait(id, {
      owner: payload.owner,
      announcedOn: waiters.channel,
      provisional: true,
      timeoutMs,
      signal,
    });
    redis
      .publish(callsChannel(prefix, worker), JSON.stringify({ v: 2, jobs: [{ id, ...payload }] }))
      .then((receivers) => (receivers === 0 ? beSilent() : undefined), beSilent);
    const outcome = await waiting;
    clearTimeout(timer);
    line.calls--;
    const aborted = signal?.aborted === true;
    if (outcome !== undefined) line.silentMs = SILENT_MS;
    else {
      if (!aborted) close(line, { silent });
      // Spares the worker what has not begun: the call is over, or goes through the queue.
      if (silent || aborted) redis.publish(cancelChannel(prefix), id).catch(() => {});
    }
    this.#forgetLines();
    return outcome === 'deleted' ? undefined : outcome;
  }

  /** Workers come and go. */
  #forgetLines(): void {
    const now = performance.now();
    for (const [worker, { calls, closedUntil, silentMs }] of this.#lines)
      if (calls === 0 && closedUntil + silentMs <= now) this.#lines.delete(worker);
  }
}

function close(line: Line, { silent }: { silent: boolean }): void {
  line.closedUntil = performance.now() + (silent ? line.silentMs : BUSY_MS);
  if (silent) line.silentMs = Math.min(2 * line.silentMs, MAX_SILENT_MS);
}

function isSmall({ model, payload: { texts, top_k: topK } }: Call): boolean {
  if (texts.length > MAX_TEXTS || model.labels === undefined) return false;
  const chars = texts.reduce((sum, { text }) => sum + text.length, 0);
  const scores = scoresOf({ texts: texts.length, topK, labels: model.labels.length });
  return chars <= MAX_CHARS && scores <= MAX_SCORES;
}
