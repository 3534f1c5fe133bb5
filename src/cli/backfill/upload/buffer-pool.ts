/** A fixed number of reused buffers, which bounds the memory of an upload: take() waits until a buffer is given back. */
export class BufferPool {
  readonly bufferBytes: number;
  /** Buffers that may still be allocated. */
  #unmade: number;
  readonly #free: Buffer[] = [];
  readonly #waiting: { resolve: (buffer: Buffer) => void; reject: (error: unknown) => void }[] = [];
  #closed: { reason: Error } | undefined;

  constructor(buffers: number, bufferBytes: number) {
    this.#unmade = buffers;
    this.bufferBytes = bufferBytes;
  }

  /** @throws the reason of close() */
  take(): Promise<Buffer> {
    if (this.#closed) return Promise.reject(this.#closed.reason);
    const free = this.#free.pop();
    if (free) return Promise.resolve(free);
    if (this.#unmade > 0) {
      this.#unmade--;
      // Not from Node's shared slab, which would stay in memory as a whole.
      return Promise.resolve(Buffer.allocUnsafeSlow(this.bufferBytes));
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next) next.resolve(buffer);
    else this.#free.push(buffer);
  }

  /** Fails all current and later calls of take(). */
  close(reason: Error): void {
    this.#closed = { reason };
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
  }
}
