/**
 * Group commit: jobs that arrive while Redis writes earlier ones are sent together, as one BullMQ job.
 *
 * A BullMQ job costs Redis, its worker and this process several scripts and, with `appendfsync always`, a wait for the
 * disk: for a single sentence, more than half of what the model costs. Measured with 64 clients on 2 cores, CPU outside
 * the model: 2.0 ms a job one by one, 1.2 ms in groups.
 *
 * While a worker is idle, a job waits only for the write that is under way. While all workers are busy, a model is free
 * for the job in a tenth of a second at the earliest, so the job first waits up to MAX_WAIT_MS for others to join its group.
 */
import type { BacklogSize } from '../../shared/store/jobs/backlog.ts';
import type { JobPayload } from '../../shared/contract/jobs.ts';
import { newGroupId, newJobId, type Priority } from '../../shared/contract/ids.ts';
import { JOB_NAME, jobOptions, queueName } from '../../shared/store/queues.ts';
import type { Deps } from '../deps.ts';

/** Texts and characters of one group, at most: the worker that takes it should finish it soon. */
const MAX_GROUP_TEXTS = 32;
const MAX_GROUP_CHARS = 32_768;

/** With more jobs per worker that callers wait for, every worker has more than it can batch at once. */
const BUSY_JOBS_PER_WORKER = 8;

/**
 * While all workers are busy, jobs are sent once a sixth of what each worker has to do has come together, and at least MIN_TOGETHER of
 * them, or after MAX_WAIT_MS: the other five sixths keep the workers busy meanwhile. Callers whose jobs ended in one batch
 * submit their next jobs together: five arrive within 8 ms with a small model, within 25 ms with a slow one.
 */
const GROUPS_PER_WORKER = 6;
const MIN_TOGETHER = 5;
const MAX_WAIT_MS = 30;

export type GroupCommitDeps = Deps<'queues' | 'backlog' | 'tracing' | 'resultTtlS'>;

/** The workers that serve a model, and what they have to do. */
export interface WorkerLoad {
  workers: number;
  /** Jobs that callers of this instance wait for. */
  awaited: number;
}

export interface Added {
  /** Jobs of the queue that come before those that were added. */
  ahead: number;
}

/** A job without an id yet. */
export type NewPayload = Omit<JobPayload, 'id'>;

interface Group {
  id: string;
  jobs: JobPayload[];
  texts: number;
  chars: number;
  added: Promise<Added>;
  resolve: (added: Added) => void;
  reject: (error: unknown) => void;
}

/** Jobs of one model and priority that are not in Redis yet. */
interface PendingQueue {
  priority: Priority;
  model: string;
  /** Not sent yet. */
  open: Group[];
  /** A write is under way or scheduled. */
  sending: boolean;
  /** Jobs in the open groups. */
  jobs: number;
  /** Jobs that are sent without a wait for more; 1 while a worker is idle. */
  together: number;
  /** Ends the wait for more jobs; undefined while none is under way. */
  flush: (() => void) | undefined;
}

export class GroupCommit {
  readonly #deps: GroupCommitDeps;
  readonly #pending = new Map<string, PendingQueue>();

  constructor(deps: GroupCommitDeps) {
    this.#deps = deps;
  }

  /**
   * Puts a job into the next group of its queue.
   * @returns the job's id, and a promise that resolves once the job is in Redis
   */
  add(
    priority: Priority,
    model: string,
    payload: NewPayload,
    { workers, awaited }: WorkerLoad,
  ): { id: string; added: Promise<Added> } {
    const queue = this.#pendingQueue(priority, model);
    const texts = payload.texts.length;
    const chars = payload.texts.reduce((sum, { text }) => sum + text.length, 0);
    // A burst is spread over idle workers, or one of them would run it all; busy workers get as few groups as possible.
    const busyWorkers = awaited > BUSY_JOBS_PER_WORKER * workers;
    const group = groupFor(queue, texts, chars, busyWorkers ? 1 : workers);
    const id = newJobId(group.id);
    group.jobs.push({ id, ...payload });
    group.texts += texts;
    group.chars += chars;
    queue.together = busyWorkers ? sentTogether(awaited / Math.max(1, workers)) : 1;
    queue.jobs++;
    if (!queue.sending) this.#schedule(queue);
    else if (queue.jobs >= queue.together) queue.flush?.();
    return { id, added: group.added };
  }

  /** Adds a job in a group by itself, under an id that was reserved for it. Adding it again changes nothing. */
  async addAlone(priority: Priority, model: string, group: string, job: JobPayload): Promise<Added> {
    return this.#add(priority, model, group, [job]);
  }

  async #add(priority: Priority, model: string, group: string, jobs: JobPayload[]): Promise<Added> {
    const { queues, backlog, tracing, resultTtlS } = this.#deps;
    const queue = await queues.get(priority, model);
    const v = jobs.some(({ threshold }) => threshold !== undefined) ? 3 : 2;
    const sizes = jobs.map(({ id, owner, texts }) => ({ id, owner, ...sizeOf(texts) }));
    // Sent together and executed in this order, so a job in its queue is always in the backlog, too.
    const enqueued = backlog.add(queueName(priority, model), sizes);
    const [{ ahead }] = await Promise.all([
      enqueued,
      // A BullMQ job belongs to one trace: that of the first job of its group (runtime/tracing.ts).
      tracing.within(jobs[0]?.trace, () => queue.add(JOB_NAME, { v, jobs }, jobOptions(group, resultTtlS))),
    ]);
    return { ahead };
  }

  #pendingQueue(priority: Priority, model: string): PendingQueue {
    const key = `${priority} ${model}`;
    const known = this.#pending.get(key);
    if (known) return known;
    const queue: PendingQueue = {
      priority,
      model,
      open: [],
      sending: false,
      jobs: 0,
      together: 1,
      flush: undefined,
    };
    this.#pending.set(key, queue);
    return queue;
  }

  #schedule(queue: PendingQueue): void {
    queue.sending = true;
    // Jobs of the same turn of the event loop join in any case.
    const send = () => setImmediate(() => void this.#send(queue));
    if (queue.jobs >= queue.together) {
      send();
      return;
    }
    const timer = setTimeout(() => queue.flush?.(), MAX_WAIT_MS);
    queue.flush = () => {
      clearTimeout(timer);
      queue.flush = undefined;
      send();
    };
  }

  async #send(queue: PendingQueue): Promise<void> {
    const groups = queue.open;
    queue.open = [];
    queue.jobs = 0;
    await Promise.all(
      groups.map(async ({ id, jobs, resolve, reject }) => {
        try {
          resolve(await this.#add(queue.priority, queue.model, id, jobs));
        } catch (error) {
          reject(error);
        }
      }),
    );
    queue.sending = false;
    if (queue.open.length > 0) this.#schedule(queue);
  }
}

/** How many jobs a group waits for. @param awaited jobs per worker */
function sentTogether(awaited: number): number {
  return Math.min(MAX_GROUP_TEXTS, Math.max(MIN_TOGETHER, Math.floor(awaited / GROUPS_PER_WORKER)));
}

/** Texts and their UTF-8 bytes, as a backlog counts them. */
export function sizeOf(texts: readonly { text: string }[]): BacklogSize {
  return { texts: texts.length, bytes: texts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0) };
}

/** The group with the fewest texts, once there are `spread` groups; a new one if none has room. */
function groupFor(queue: PendingQueue, texts: number, chars: number, spread: number): Group {
  const room = queue.open.filter(
    (group) => group.texts + texts <= MAX_GROUP_TEXTS && group.chars + chars <= MAX_GROUP_CHARS,
  );
  if (queue.open.length >= Math.max(1, spread)) {
    const smallest = room.reduce<Group | undefined>(
      (least, group) => (least && least.texts <= group.texts ? least : group),
      undefined,
    );
    if (smallest) return smallest;
  }
  const { promise: added, resolve, reject } = Promise.withResolvers<Added>();
  // A failure reaches everyone who awaits the group; if there is no such caller, it must not become an unhandled rejection.
  added.catch(() => {});
  const group: Group = {
    id: newGroupId(queue.priority, queue.model),
    jobs: [],
    texts: 0,
    chars: 0,
    added,
    resolve,
    reject,
  };
  queue.open.push(group);
  return group;
}
