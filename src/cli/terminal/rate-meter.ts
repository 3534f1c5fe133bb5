/** Current growth rate of a counter. */

const WINDOW_MS = 10_000;
const MIN_MS = 1000;

export class RateMeter {
  readonly #now: () => number;
  /** At least a tenth of MIN_MS apart. */
  readonly #samples: { time: number; value: number }[] = [];

  /** @param now clock, in ms */
  constructor(now = () => performance.now()) {
    this.#now = now;
    this.add(0);
  }

  add(value: number): void {
    const time = this.#now();
    const last = this.#samples.at(-1);
    if (last && time - last.time < MIN_MS / 10 && this.#samples.length > 1) last.value = value;
    else this.#samples.push({ time, value });
    while (this.#samples.length > 2 && time - (this.#samples[1]?.time ?? time) > WINDOW_MS)
      this.#samples.shift();
  }

  /** Over the last ten seconds; undefined during the first second. */
  get perSecond(): number | undefined {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last) return undefined;
    const ms = this.#now() - first.time;
    return ms < MIN_MS ? undefined : ((last.value - first.value) * 1000) / ms;
  }
}
