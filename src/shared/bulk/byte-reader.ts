/** Reads a stream of bytes in counts that the caller chooses, and takes back what it did not use. */

/** The source ended within the bytes that were asked for. */
export class CutOffError extends Error {
  override name = 'CutOffError';

  constructor() {
    super('unexpected end of file');
  }
}

export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  /** Received bytes that are not consumed yet; never empty. */
  #rest: Uint8Array | undefined;
  #received = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes consumed so far. */
  get taken(): number {
    return this.#received - (this.#rest?.length ?? 0);
  }

  /** The next bytes, at least one; undefined at the end. */
  async next(): Promise<Uint8Array | undefined> {
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest) return rest;
    for (;;) {
      const next = await this.#source.next();
      if (next.done === true) return undefined;
      this.#received += next.value.length;
      if (next.value.length > 0) return next.value;
    }
  }

  giveBack(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#rest = bytes;
  }

  /** The next bytes without consuming them; fewer at the end. */
  async peek(count: number): Promise<Uint8Array> {
    let bytes = (await this.next()) ?? Buffer.alloc(0);
    while (bytes.length < count) {
      const more = await this.next();
      if (!more) break;
      bytes = Buffer.concat([bytes, more]);
    }
    this.giveBack(bytes);
    return bytes.subarray(0, count);
  }

  /** @throws CutOffError when the source has fewer bytes */
  async take(count: number): Promise<Buffer> {
    const bytes = await this.peek(count);
    if (bytes.length < count) throw new CutOffError();
    const rest = this.#rest;
    this.#rest = rest && rest.length > count ? rest.subarray(count) : undefined;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Not awaited: a source that hangs does not answer to this either. */
  close(): void {
    void this.#source.return?.().catch(() => {});
  }
}
