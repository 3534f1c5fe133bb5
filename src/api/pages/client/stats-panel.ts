/** The current load of the service, of all callers together. Polled only while the page is visible. */
import type { ModelStats } from '../../../shared/contract/models.ts';
import type { Api } from './api.ts';
import { element, say } from './dom.ts';
import { rate, shortCount } from './format.ts';
import { ApiProblem, retryDelay } from './problems.ts';
import { sleep } from './sleep.ts';

const EVERY_MS = 2000;
/** Rates are averages over this time. */
const RATE_MS = 6000;
/** Points of the curve. */
const SAMPLES = 45;
/** Size of the curve's coordinates, which CSS stretches. */
const CURVE = { width: 100, height: 24 };

export class StatsPanel {
  readonly #api: Api;
  readonly #figures = {
    texts: element('stat-texts', HTMLElement),
    rows: element('stat-rows', HTMLElement),
    rate: element('stat-rate', HTMLElement),
    workers: element('stat-workers', HTMLElement),
  };
  readonly #curve = document.querySelector('#curve polyline');
  readonly #rates: number[] = [];
  #meter = new Meter();
  #watching = new AbortController();

  constructor(api: Api) {
    this.#api = api;
    document.addEventListener('visibilitychange', () => this.restart());
  }

  /** Starts polling; called again when the key has changed or the page becomes visible. */
  restart(): void {
    this.#watching.abort();
    this.#watching = new AbortController();
    // Counts that grew while the page was hidden give no rate.
    this.#meter = new Meter();
    if (document.visibilityState === 'visible') void this.#watch(this.#watching.signal);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    do {
      let pause = this.#api.pace(EVERY_MS);
      try {
        const { models } = await this.#api.json<{ models: ModelStats[] }>('/v1/stats', { signal });
        this.#show(models);
      } catch (error) {
        if (signal.aborted) return;
        this.#blank();
        // Without a key every further request would be refused, too.
        if (error instanceof ApiProblem && error.status === 401) return;
        pause = retryDelay(error) ?? pause;
      }
      await sleep(pause, signal);
    } while (!signal.aborted);
  }

  #show(models: readonly ModelStats[]): void {
    const sum = (of: (model: ModelStats) => number) => models.reduce((total, model) => total + of(model), 0);
    const inBatches = sum(({ batches }) => batches.rows_per_second);
    const perSecond = inBatches + this.#meter.rate(sum(({ texts }) => texts.ended));
    say(this.#figures.texts, shortCount(sum(({ texts }) => texts.normal + texts.low)));
    say(this.#figures.rows, shortCount(sum(({ batches }) => batches.rows)));
    say(this.#figures.rate, rate(perSecond));
    say(this.#figures.workers, shortCount(sum(({ workers }) => workers)));
    this.#rates.push(perSecond);
    if (this.#rates.length > SAMPLES) this.#rates.shift();
    const highest = Math.max(...this.#rates, 1);
    const points = this.#rates.map((each, i) => {
      const x = (CURVE.width * (SAMPLES - this.#rates.length + i)) / (SAMPLES - 1);
      return `${x.toFixed(1)},${(CURVE.height * (1 - each / highest)).toFixed(1)}`;
    });
    this.#curve?.setAttribute('points', points.join(' '));
  }

  #blank(): void {
    for (const figure of Object.values(this.#figures)) say(figure, '–');
  }
}

/** Measures how fast a count grows. */
class Meter {
  /** Samples of the last RATE_MS, and one before; times in ms. */
  readonly #samples: { time: number; value: number }[] = [];

  /** @returns per second */
  rate(value: number): number {
    const time = performance.now();
    this.#samples.push({ time, value });
    while ((this.#samples[1]?.time ?? time) <= time - RATE_MS) this.#samples.shift();
    const first = this.#samples[0];
    return !first || first.time === time ? 0 : ((value - first.value) * 1000) / (time - first.time);
  }
}
