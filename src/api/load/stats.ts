/** What waits for each model, and how fast batches get on: for people who watch, so a second old is new enough. */
import { EMPTY_BACKLOG, type Backlog } from '../../shared/store/jobs/backlog.ts';
import { toBatch, type BatchStore } from '../../shared/store/batches/batch-store.ts';
import type { ModelStats } from '../../shared/contract/models.ts';
import { queueName } from '../../shared/store/queues.ts';
import type { WithRedis } from '../../shared/redis/connections.ts';
import type { ModelCatalog } from '../model-catalog.ts';

/** However many watch, Redis is asked once in so long. */
const FRESH_MS = 1000;

export interface StatsDeps {
  withRedis: WithRedis;
  backlog: Backlog;
  batches: BatchStore;
  catalog: ModelCatalog;
}

export class Stats {
  readonly #deps: StatsDeps;
  #read: Promise<ModelStats[]> | undefined;
  #readAt = -Infinity;

  constructor(deps: StatsDeps) {
    this.#deps = deps;
  }

  /** Of every known model, by name. */
  models(): Promise<ModelStats[]> {
    const now = performance.now();
    if (this.#read && now - this.#readAt < FRESH_MS) return this.#read;
    this.#readAt = now;
    const reading = this.#deps.withRedis(() => this.#look());
    this.#read = reading;
    // What failed is not kept.
    reading.catch(() => {
      if (this.#read === reading) this.#read = undefined;
    });
    return reading;
  }

  /** The same, of this moment. */
  fresh(): Promise<ModelStats[]> {
    return this.#deps.withRedis(() => this.#look());
  }

  async #look(): Promise<ModelStats[]> {
    const { backlog, batches, catalog } = this.#deps;
    const [models, sizes, ended, ids] = await Promise.all([
      catalog.list(),
      backlog.sizes(),
      backlog.ended(),
      batches.running(),
    ]);
    const records = await Promise.all(ids.map((id) => batches.read(id)));
    const running = ids.flatMap((id, i) => {
      const record = records[i];
      return record ? [toBatch(id, record, undefined)] : [];
    });
    return models.map(({ name, workers }) => {
      const [normal, low] = [queueName('normal', name), queueName('low', name)];
      const texts = (queue: string) => (sizes.get(queue) ?? EMPTY_BACKLOG).texts;
      const own = running.filter(({ model }) => model.name === name);
      const rate = own.reduce((sum, batch) => sum + (batch.rows_per_second ?? 0), 0);
      return {
        name,
        workers,
        texts: {
          normal: texts(normal),
          low: texts(low),
          ended: (ended.get(normal) ?? 0) + (ended.get(low) ?? 0),
        },
        batches: {
          running: own.length,
          rows: own.reduce((sum, { rows }) => sum + rows.total - rows.finished, 0),
          rows_per_second: Math.round(rate * 10) / 10,
        },
      };
    });
  }
}
