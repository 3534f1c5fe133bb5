/** Notifies the user once when no worker serves the model of the batch, and lists the models that are served. */
import type { Batch } from '../../shared/contract/batches.ts';
import type { Run } from './run.ts';
import { duration } from '../terminal/units.ts';

/** Longer than a worker's restart or a rollout takes. */
const NOTICE_AFTER_MS = 10_000;

/** Whether a batch makes no progress because no worker serves its model. */
export const isUnserved = ({ status, model }: Batch): boolean =>
  (status === 'queued' || status === 'processing') && model.workers === 0;

export class UnservedModelNotice {
  readonly #run: Pick<Run, 'client' | 'reporter' | 'signal'>;
  readonly #delayMs: number;
  /** performance.now() when the model was first seen without a worker. */
  #since: number | undefined;
  #reported = false;

  constructor(run: Pick<Run, 'client' | 'reporter' | 'signal'>, delayMs = NOTICE_AFTER_MS) {
    this.#run = run;
    this.#delayMs = delayMs;
  }

  /** @param batch as just read */
  async look(batch: Batch): Promise<void> {
    const { model } = batch;
    if (!isUnserved(batch)) {
      this.#since = undefined;
      this.#reported = false;
      return;
    }
    this.#since ??= performance.now();
    const waited = performance.now() - this.#since;
    if (this.#reported || waited < this.#delayMs) return;
    this.#reported = true;
    const { client, reporter, signal } = this.#run;
    const models = await client.listModels(signal);
    const served = models.filter(({ workers }) => workers > 0).map(({ name }) => name);
    reporter.log(
      `No worker has served the model ${model.name} for ${duration(waited / 1000)}: the batch waits until one does. ` +
        (served.length > 0
          ? `Served now: ${served.join(', ')} (choose one with --restart --model NAME).`
          : 'No worker is running: start one.'),
    );
  }
}
