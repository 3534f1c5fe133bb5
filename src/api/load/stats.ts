/** Stats: per model, the texts that wait and the speed of its batches, for the page and `GET /v1/stats`. */
import { EMPTY_BACKLOG } from '../../shared/store/jobs/backlog.ts';
import { toBatch } from '../../shared/store/batches/batch-view.ts';
import type { ModelStats } from '../../shared/contract/models.ts';
import { queueName } from '../../shared/store/queues.ts';
import { CachedFor } from '../cached-for.ts';
import type { Deps } from '../deps.ts';

/** Redis is read at most once in this time, however many callers there are. */
const FRESH_MS = 1000;

export type StatsDeps = Deps<'withRedis' | 'backlog' | 'batchStore' | 'catalog'>;

export class Stats {
  readonly #deps: StatsDeps;
  readonly #cached: CachedFor<ModelStats[]>;

  constructor(deps: StatsDeps) {
    this.#deps = deps;
    this.#cached = new CachedFor(FRESH_MS, () => this.readNow());
  }

  /** The stats of every known model, by name; up to a second old. */
  models(): Promise<ModelStats[]> {
    return this.#cached.get();
  }

  /** The same as of this moment. */
  readNow(): Promise<ModelStats[]> {
    return this.#deps.withRedis(() => this.#read());
  }

  async #read(): Promise<ModelStats[]> {
    const { backlog, batchStore, catalog } = this.#deps;
    const [models, sizes, ended, ids] = await Promise.all([
      catalog.list(),
      backlog.sizes(),
      backlog.ended(),
      batchStore.running(),
    ]);
    const records = await Promise.all(ids.map((id) => batchStore.read(id)));
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
