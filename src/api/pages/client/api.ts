/** Requests to the public API, at the address that served the page. */
import type { Keys } from './keys.ts';
import { ApiProblem, parseProblem, Unreachable } from './problems.ts';

const MINUTE_MS = 60_000;
/** Polling uses one in this many of the requests that a key may make. */
const POLLING_SHARE = 4;

/** Relative to the page, because a proxy may serve the API below another path. */
export const urlOf = (path: string): string => new URL(path.replace(/^\//, ''), document.baseURI).href;

export class Api {
  readonly #keys: Keys;
  /** Requests per minute that the key may make. */
  #perMinute = Infinity;

  constructor(keys: Keys) {
    this.#keys = keys;
  }

  /** Whether requests carry an API key. */
  get hasKey(): boolean {
    return this.#keys.current !== undefined;
  }

  get headers(): Record<string, string> {
    const key = this.#keys.current;
    return key === undefined ? {} : { Authorization: `Bearer ${key}` };
  }

  /** The interval of polling, in ms: longer than wanted where it would use more than its share of a key's requests. */
  pace(wantedMs: number): number {
    return Math.max(wantedMs, (MINUTE_MS * POLLING_SHARE) / this.#perMinute);
  }

  /**
   * Sends a request. Where the server wants a key, asks the person for one and tries again.
   * @param path such as `/v1/jobs`
   * @throws ApiProblem, Unreachable, or the signal's reason
   */
  async send(path: string, init: RequestInit = {}): Promise<Response> {
    for (;;) {
      const response = await this.#fetch(path, init);
      if (response.ok) return response;
      const problem = parseProblem(
        response.status,
        await response.text().catch(() => ''),
        response.headers.get('retry-after'),
      );
      if (!(await this.unlocked(problem))) throw problem;
    }
  }

  async json<T>(path: string, init?: RequestInit): Promise<T> {
    return (await this.send(path, init)).json() as Promise<T>;
  }

  async post<T>(path: string, body: object, signal: AbortSignal): Promise<T> {
    const headers = { 'Content-Type': 'application/json' };
    return this.json<T>(path, { method: 'POST', headers, body: JSON.stringify(body), signal });
  }

  /** Asks for a key after a 401. @returns whether there is one now */
  async unlocked({ status, problem }: ApiProblem): Promise<boolean> {
    if (status !== 401) return false;
    const reason = this.hasKey ? sentence(problem.detail ?? 'this key was refused') : '';
    return (await this.#keys.wanted(reason)) !== undefined;
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    try {
      const response = await fetch(urlOf(path), {
        ...init,
        headers: { ...(init.headers as Record<string, string>), ...this.headers },
        cache: 'no-store',
      });
      const limit = response.headers.get('ratelimit-limit');
      this.#perMinute = limit === null ? Infinity : Number(limit);
      return response;
    } catch (error) {
      init.signal?.throwIfAborted();
      throw new Unreachable('no answer', { cause: error });
    }
  }
}

/** The detail of a problem begins with a small letter, because it follows a title; here it stands alone. */
const sentence = (detail: string): string => `${detail.charAt(0).toUpperCase()}${detail.slice(1)}.`;
