/** Open requests, by API key: when a key is removed, its waits, streams and uploads are ended. */
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

  add(response: ServerResponse, key: ApiKey): void {
    this.#keys.set(response, key);
    // Not once(), which creates a function each time; `close` is emitted only once anyway.
    response.on('close', this.#forget);
  }

  /** Ends the requests whose key is no longer valid; a repeat gets a 401. @returns how many */
  endInvalid(isValid: (key: ApiKey) => boolean): number {
    const ended = [...this.#keys].filter(([, key]) => !isValid(key));
    for (const [response] of ended) response.destroy();
    return ended.length;
  }
}
