/**
 * Warns about work that waits for a model without a worker. Nothing else fails then: after an upgrade or a change of MODEL_DIR, the jobs
 * and batches of the model before would wait for as long as nobody looks.
 */
import { existsSync } from 'node:fs';
import type { ModelStats } from '../../shared/contract/models.ts';
import { count, plural } from '../../shared/contract/quantities.ts';
import type { Logger } from '../../shared/runtime/logger.ts';
import { queueName } from '../../shared/store/queues.ts';

/** A worker that starts or is replaced is back within this time; KEDA takes about as long to start the first one. */
const GRACE_MS = 30_000;

export interface UnservedWorkDeps {
  stats: { models: () => Promise<ModelStats[]> };
  backlog: { sizes: () => Promise<Map<string, { texts: number }>> };
  /** Its jobs are accepted before any worker has ever served it; the stats have it only afterwards. */
  defaultModel: string;
  /** URL of Redis, for the command that starts a worker. */
  redisUrl: string | undefined;
  logger: Logger;
}

/** What is read of a model's stats. */
interface Waiting {
  name: string;
  workers: number;
  texts: { normal: number; low: number };
  batches: { running: number };
}

const PRIORITIES = ['normal', 'low'] as const;

export class UnservedWork {
  readonly #deps: UnservedWorkDeps;
  /** Models that work waits for without a worker: since when, and whether that was logged. */
  readonly #unserved = new Map<string, { since: number; logged: boolean }>();

  constructor(deps: UnservedWorkDeps) {
    this.#deps = deps;
  }

  /** Logs each model once, when work has waited for it without a worker for GRACE_MS; and its next worker. */
  async check(): Promise<void> {
    const { stats, logger } = this.#deps;
    const now = performance.now();
    const models = await stats.models();
    const waiting = [...models, ...(await this.#neverServed(models))].filter(
      (model) => model.workers === 0 && workOf(model) !== '',
    );
    for (const [model, { logged }] of this.#unserved) {
      if (waiting.some(({ name }) => name === model)) continue;
      this.#unserved.delete(model);
      const served = models.some(({ name, workers }) => name === model && workers > 0);
      if (logged && served) logger.info({ model, recovered: true }, `a worker serves ${model} again`);
    }
    for (const model of waiting) {
      const known = this.#unserved.get(model.name) ?? { since: now, logged: false };
      this.#unserved.set(model.name, known);
      if (known.logged || now - known.since < GRACE_MS) continue;
      known.logged = true;
      logger.warn(
        { model: model.name, reason: `start one: ${this.#command(model.name)}` },
        `no worker serves ${model.name}, and work waits for it: ${workOf(model)}`,
      );
    }
  }

  /** The default model, with its jobs, if no worker has ever served it: an API of a later version may have another default. */
  async #neverServed(known: readonly ModelStats[]): Promise<Waiting[]> {
    const { backlog, defaultModel: name } = this.#deps;
    if (known.some((model) => model.name === name)) return [];
    const sizes = await backlog.sizes();
    const [normal, low] = PRIORITIES.map((priority) => sizes.get(queueName(priority, name))?.texts ?? 0);
    return [{ name, workers: 0, texts: { normal: normal ?? 0, low: low ?? 0 }, batches: { running: 0 } }];
  }

  /** The command for a worker of the model beside this process. */
  #command(model: string): string {
    const { redisUrl } = this.#deps;
    // Only a socket: another URL may have a password.
    const redis = redisUrl?.startsWith('unix:') ? `REDIS_URL=${redisUrl} ` : '';
    const folder = existsSync(`models/${model}`) ? `models/${model}` : `FOLDER MODEL_NAME=${model}`;
    return `${redis}MODEL_DIR=${folder} WORKER_PORT=0 npm run start:worker`;
  }
}

/** `3 texts, 1 batch`; empty when nothing waits. */
function workOf({ texts, batches }: Waiting): string {
  const waiting = texts.normal + texts.low;
  return [
    ...(waiting > 0 ? [plural(waiting, 'text')] : []),
    ...(batches.running > 0 ? [batches.running === 1 ? '1 batch' : `${count(batches.running)} batches`] : []),
  ].join(', ');
}
