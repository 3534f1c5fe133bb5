/**
 * Group commit: jobs that come in while Redis writes earlier ones go out together, as one BullMQ job.
 *
 * A BullMQ job costs Redis, its worker and this process several scripts and, with `appendfsync always`, a wait for the
 * disk; alone for each sentence, that is more than half of what the model takes. Measured with 64 clients on 2 cores, CPU
 * outside the model: 2.0 ms a job one by one, 1.2 ms in groups.
 *
 * While a worker is idle a job waits for nothing but the write that is under way. When all are busy, its turn at a model
 * is a tenth of a second off or more, and a little of it is spent waiting for company.
 */
import type { Backlog, BacklogSize } from '../../shared/store/jobs/backlog.ts';
import type { JobPayload } from '../../shared/contract/jobs.ts';
import { newGroupId, newJobId, type Priority } from '../../shared/contract/ids.ts';
import { JOB_NAME, jobOptions, queueName } from '../../shared/store/queues.ts';
import { NO_TRACING, type Tracing } from '../../shared/runtime/tracing.ts';
import type { QueueSet } from '../../shared/store/jobs/queue-set.ts';

/** Texts and characters of one group: a worker that takes it should have done with it soon. */
const MAX_GROUP_TEXTS = 16;
const MAX_GROUP_CHARS = 32_768;

/**
 * While all workers are busy, so many jobs are waited for, but not longer than this. The jobs of one batch come back together
 * as new ones, so five are there after 8 ms with a small model and after 25 ms with a slow one, whose queue is longer.
 */
const FLUSH_JOBS = 5;
const MAX_WAIT_MS = 30;

/** What is known of the workers that serve a model. */
export interface WorkerLoad {
  workers: number;
  /** All of them have more to do than they can batch at once. */
  busyWorkers: boolean;
}

/** Jobs of the queue that come before those that were added. */
export interface Added {
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

interface PendingQueue {
  priority: Priority;
  model: string;
  /** Not sent yet. */
  open: Group[];
  /** Sending, or about to. */
  sending: boolean;
  /** Jobs in the open groups. */
  jobs: number;
  /** The workers are busy: there is time to wait for company. */
  waitForMore: boolean;
  /** Ends that wait. */
  flush: (() => void) | undefined;
}

export class GroupCommit {
  readonly #queues: QueueSet;
  readonly #backlog: Backlog;
  readonly #resultTtlS: number;
  readonly #tracing: Tracing;
  readonly #pending = new Map<string, PendingQueue>();

  /** @param resultTtlS how long a job that could not even be settled stays readable */
  constructor(queues: QueueSet, backlog: Backlog, resultTtlS: number, tracing = NO_TRACING) {
    this.#queues = queues;
    this.#backlog = backlog;
    this.#resultTtlS = resultTtlS;
    this.#tracing = tracing;
  }

  /**
   * Puts a job into the next group of its queue.
   * @returns the job's id, and a promise that resolves once the job is in Redis
   */
  add(
    priority: Priority,
    model: string,
    payload: NewPayload,
    { workers, busyWorkers }: WorkerLoad,
  ): { id: string; added: Promise<Added> } {
    const queue = this.#pendingQueue(priority, model);
    const texts = payload.texts.length;
    const chars = payload.texts.reduce((sum, { text }) => sum + text.length, 0);
    // A burst is spread over idle workers, or one would run it all; busy ones are fed in as few groups as will do.
    const group = groupFor(queue, texts, chars, busyWorkers ? 1 : workers);
    const id = newJobId(group.id);
    group.jobs.push({ id, ...payload });
    group.texts += texts;
    group.chars += chars;
    queue.waitForMore = busyWorkers;
    queue.jobs++;
    if (!queue.sending) this.#schedule(queue);
    else if (queue.jobs === FLUSH_JOBS) queue.flush?.();
    return { id, added: group.added };
  }

  /** Puts a job into its queue alone, under an id that was given to it before. Adding it again changes nothing. */
  async addAlone(priority: Priority, model: string, group: string, job: JobPayload): Promise<Added> {
    return this.#add(priority, model, group, [job]);
  }

  async #add(priority: Priority, model: string, group: string, jobs: JobPayload[]): Promise<Added> {
    const queue = await this.#queues.get(priority, model);
    const sizes = jobs.map(({ id, owner, texts }) => ({ id, owner, ...sizeOf(texts) }));
    // Sent together and carried out in this order: a job that is in its queue is in the backlog, too.
    const takenIn = this.#backlog.add(queueName(priority, model), sizes);
    const [{ ahead }] = await Promise.all([
      takenIn,
      // A BullMQ job is in one trace: that of the first of its group (shared/tracing.ts).
      this.#tracing.within(jobs[0]?.trace, () =>
        queue.add(JOB_NAME, { v: 2, jobs }, jobOptions(group, this.#resultTtlS)),
      ),
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
      waitForMore: false,
      flush: undefined,
    };
    this.#pending.set(key, queue);
    return queue;
  }

  #schedule(queue: PendingQueue): void {
    queue.sending = true;
    // What else came in with this turn of the event loop joins in any case.
    const send = () => setImmediate(() => void this.#send(queue));
    if (!queue.waitForMore || queue.jobs >= FLUSH_JOBS) {
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

/** What texts take up of a queue; bytes as UTF-8. */
export function sizeOf(texts: readonly { text: string }[]): BacklogSize {
  return { texts: texts.length, bytes: texts.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0) };
}

/** The group with the fewest texts, once there are enough to spread over; a new one where there is no room. */
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
  // Everybody who submitted a job of the group hears of a failure; nobody may be left to.
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
