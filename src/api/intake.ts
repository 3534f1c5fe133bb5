/**
 * Group commit: jobs that come in while Redis writes earlier ones go out together, as one BullMQ job.
 *
 * A BullMQ job costs Redis and its worker several scripts, and with `appendfsync always` a wait for the disk; under load
 * that is more than the model takes for a sentence. A quiet API sends every job at once and alone: nothing ever waits for
 * company, only for the write that is under way.
 */
import type { JobPayload } from '../shared/contract.ts';
import { newGroupId, newJobId, type Priority } from '../shared/ids.ts';
import { JOB_NAME, jobOptions } from '../shared/queues.ts';
import type { QueueSet } from './queue-set.ts';

/** Texts and characters of one group: a worker that takes it should have done with it soon. */
const MAX_GROUP_TEXTS = 16;
const MAX_GROUP_CHARS = 32_768;

/** A job without an id yet. */
export type NewPayload = Omit<JobPayload, 'id'>;

interface Group {
  id: string;
  jobs: JobPayload[];
  texts: number;
  chars: number;
  added: Promise<unknown>;
  resolve: (value?: unknown) => void;
  reject: (error: unknown) => void;
}

interface Lane {
  priority: Priority;
  model: string;
  /** Not sent yet. */
  open: Group[];
  /** Sending, or about to. */
  busy: boolean;
}

export class Intake {
  readonly #queues: QueueSet;
  readonly #resultTtlS: number;
  readonly #lanes = new Map<string, Lane>();

  /** @param resultTtlS how long a job that could not even be settled stays readable */
  constructor(queues: QueueSet, resultTtlS: number) {
    this.#queues = queues;
    this.#resultTtlS = resultTtlS;
  }

  /**
   * Puts a job into the next group of its queue.
   * @param spread over how many groups to spread what comes in together
   * @returns the job's id, and a promise that resolves once the job is in Redis
   */
  add(
    priority: Priority,
    model: string,
    payload: NewPayload,
    spread: number,
  ): { id: string; added: Promise<unknown> } {
    const lane = this.#lane(priority, model);
    const texts = payload.texts.length;
    const chars = payload.texts.reduce((sum, { text }) => sum + text.length, 0);
    const group = placeFor(lane, texts, chars, spread);
    const id = newJobId(group.id);
    group.jobs.push({ id, ...payload });
    group.texts += texts;
    group.chars += chars;
    if (!lane.busy) {
      lane.busy = true;
      // What else came in with this turn of the event loop joins.
      setImmediate(() => void this.#send(lane));
    }
    return { id, added: group.added };
  }

  /** Puts a job into its queue alone, under an id that was given to it before. Adding it again changes nothing. */
  async addAlone(priority: Priority, model: string, group: string, job: JobPayload): Promise<void> {
    const queue = await this.#queues.get(priority, model);
    await queue.add(JOB_NAME, { v: 2, jobs: [job] }, jobOptions(group, this.#resultTtlS));
  }

  #lane(priority: Priority, model: string): Lane {
    const key = `${priority} ${model}`;
    const known = this.#lanes.get(key);
    if (known) return known;
    const lane: Lane = { priority, model, open: [], busy: false };
    this.#lanes.set(key, lane);
    return lane;
  }

  /** Sends what is open, then what came in meanwhile, until nothing is left. */
  async #send(lane: Lane): Promise<void> {
    while (lane.open.length > 0) {
      const groups = lane.open;
      lane.open = [];
      await Promise.all(
        groups.map(async ({ id, jobs, resolve, reject }) => {
          try {
            const queue = await this.#queues.get(lane.priority, lane.model);
            await queue.add(JOB_NAME, { v: 2, jobs }, jobOptions(id, this.#resultTtlS));
            resolve();
          } catch (error) {
            reject(error);
          }
        }),
      );
    }
    lane.busy = false;
  }
}

/** The group with the fewest texts, once there are enough to spread over; a new one where there is no room. */
function placeFor(lane: Lane, texts: number, chars: number, spread: number): Group {
  const room = lane.open.filter(
    (group) => group.texts + texts <= MAX_GROUP_TEXTS && group.chars + chars <= MAX_GROUP_CHARS,
  );
  if (lane.open.length >= Math.max(1, spread)) {
    const smallest = room.reduce<Group | undefined>(
      (least, group) => (least && least.texts <= group.texts ? least : group),
      undefined,
    );
    if (smallest) return smallest;
  }
  const { promise: added, resolve, reject } = Promise.withResolvers<unknown>();
  // Everybody who submitted a job of the group hears of a failure; nobody may be left to.
  added.catch(() => {});
  const group: Group = {
    id: newGroupId(lane.priority, lane.model),
    jobs: [],
    texts: 0,
    chars: 0,
    added,
    resolve,
    reject,
  };
  lane.open.push(group);
  return group;
}
