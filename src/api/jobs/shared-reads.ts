/**
 * Shared reads: concurrent callers of the same key share one read, and only MAX_READS run at once, so that neither this process
 * nor the output buffer of Redis holds many jobs of megabytes.
 */

/** Reads that run at the same time. */
const MAX_READS = 16;

export class SharedReads<T> {
  readonly #read: (key: string) => Promise<T>;
  /** Reads that have not started, by key: a caller of the same key joins. */
  readonly #waiting = new Map<string, Promise<T>>();
  /** Reads that have started, by key. They may miss what a new caller has just written, so it does not join them. */
  readonly #underWay = new Map<string, Promise<T>>();
  readonly #queue: (() => void)[] = [];
  #free = MAX_READS;

  constructor(read: (key: string) => Promise<T>) {
    this.#read = read;
  }

  /** The result of a read that starts now or later. */
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
