/** Progress of an upload, in stored bytes of the input. */
import type { Input } from '../input/input.ts';
import type { Part } from './parts.ts';
import { RateMeter } from '../../terminal/rate-meter.ts';

export class UploadMeter {
  readonly #input: Input;
  readonly #rate = new RateMeter();
  /** Size of each part in stored bytes of the input, and how many of these have been sent. */
  readonly #parts = new Map<number, { bytes: number; sent: number }>();
  #read = 0;
  #sent = 0;

  constructor(input: Input) {
    this.#input = input;
  }

  /** Passes the parts on and notes how much of the input each one takes. */
  async *watch(parts: AsyncIterable<Part>): AsyncGenerator<Part, void, undefined> {
    for await (const part of parts) {
      // The decoder reads ahead by less than 1 % of a part.
      const read = this.#input.position();
      this.#parts.set(part.number, { bytes: read - this.#read, sent: 0 });
      this.#read = read;
      yield part;
    }
  }

  /** @param fraction of the part that has been sent */
  sent(number: number, fraction: number): void {
    const part = this.#parts.get(number);
    if (!part) return;
    const sent = part.bytes * fraction;
    this.#sent += sent - part.sent;
    part.sent = sent;
    if (fraction === 1) this.#parts.delete(number);
    this.#rate.add(this.#sent);
  }

  get done(): number {
    return this.#sent;
  }

  /** Bytes per second; undefined during the first second. */
  get rate(): number | undefined {
    return this.#rate.perSecond;
  }
}
