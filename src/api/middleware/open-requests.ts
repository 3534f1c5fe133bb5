/** Requests that are not answered to their end, and their keys: one that is taken away ends its waits, streams and uploads. */
import type { ServerResponse } from 'node:http';
import type { ApiKey } from '../../shared/runtime/api-keys.ts';

export class OpenRequests {
  readonly #keys = new Map<ServerResponse, ApiKey>();
  readonly #forget: (this: ServerResponse) => void;

  constructor() {
    const keys = this.#keys;
    this.#forget = function () {
      keys.delete(this);
    };
  }

  get size(): number {
    return this.#keys.size;
  }

  add(response: ServerResponse, key: ApiKey): void {
    this.#keys.set(response, key);
    // Not once(), which makes a function each time: it is called once all the same.
    response.on('close', this.#forget);
  }

  /** Breaks off those whose key does not hold any more. A caller that tries again gets a 401. @returns how many */
  end(holds: (key: ApiKey) => boolean): number {
    const ended = [...this.#keys].filter(([, key]) => !holds(key));
    for (const [response] of ended) response.destroy();
    return ended.length;
  }
}
