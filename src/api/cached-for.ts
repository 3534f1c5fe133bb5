/** A value that is read again only after a while, so that many callers cost Redis one read. */

export class CachedFor<T> {
  readonly #ttlMs: number;
  readonly #read: () => Promise<T>;
  #value: T | undefined;
  #readAt = -Infinity;
  #reading: Promise<T> | undefined;

  /** @param ttlMs how long a value is used, counted from when its read began; a failed read is not kept */
  constructor(ttlMs: number, read: () => Promise<T>) {
    this.#ttlMs = ttlMs;
    this.#read = read;
  }

  /** The value, not older than `maxAgeMs`. */
  async get(maxAgeMs = this.#ttlMs): Promise<T> {
    return performance.now() - this.#readAt < maxAgeMs ? (this.#value as T) : this.refresh();
  }

  /** Reads the value now. Callers that come while a read is under way share it. */
  refresh(): Promise<T> {
    this.#reading ??= this.#readNow().finally(() => (this.#reading = undefined));
    return this.#reading;
  }

  /** Has the next call read the value again. */
  expire(): void {
    this.#readAt = -Infinity;
  }

  async #readNow(): Promise<T> {
    const startedAt = performance.now();
    this.#value = await this.#read();
    this.#readAt = startedAt;
    return this.#value;
  }
}
