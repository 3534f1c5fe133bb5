/**
 * Cancels the rows of one job. It has as much of an AbortSignal as the batcher needs: an AbortController costs 70 calls of functions
 * a job, this one 5, and hardly any job is canceled.
 */
import type { DropSignal } from './batcher.ts';

export class Cancellation implements DropSignal {
  readonly #listeners = new Set<() => void>();
  aborted = false;

  addEventListener(_type: string, listener: () => void): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_type: string, listener: () => void): void {
    this.#listeners.delete(listener);
  }

  abort(): void {
    this.aborted = true;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
  }
}
