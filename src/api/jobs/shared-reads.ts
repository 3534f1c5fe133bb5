/**
 * Reads of jobs, which may have megabytes: one for all who ask for the same job at the same time, and only a few at once, so that
 * neither this process nor the output buffer of Redis holds more than these.
 */

/** Reads that are under way together. */
const MAX_READS = 16;

export class SharedReads<T> {
  readonly #read: (key: string) => Promise<T>;
  /** Reads that have not begun: whoever asks for the same joins. */
  readonly #waiting = new Map<string, Promise<T>>();
  /** Reads that have begun. They may have missed what their latest caller did before it asked, so nobody joins them. */
  readonly #underWay = new Map<string, Promise<T>>();
  readonly #queue: (() => void)[] = [];
  #free = MAX_READS;

  constructor(read: (key: string) => Promise<T>) {
    this.#read = read;
  }

  /** What is read no sooner than now. */
  read(key: string): Promise<T> {
    const waiting = this.#waiting.get(key);
    if (waiting) return waiting;
    const read = this.#inTurn(key);
    this.#waiting.set(key, read);
    return read;
  }

  async #inTurn(key: string): Promise<T> {
    await this.#underWay.get(key)?.catch(() => {});
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
    this.#waiting.delete(key);
    const read = this.#read(key);
    this.#underWay.set(key, read);
    try {
      return await read;
    } finally {
      this.#underWay.delete(key);
      const next = this.#queue.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
