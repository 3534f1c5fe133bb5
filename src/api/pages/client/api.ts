/** Requests to the API that served the page: the public one, as every other client uses it. */
import type { Keys } from './keys.ts';
import { ApiProblem, parseProblem, Unreachable } from './problems.ts';

const MINUTE_MS = 60_000;
/** One in so many requests that a key may make goes into looking whether there is something new. */
const POLLING_SHARE = 4;

/** Below the page, which a proxy may serve under a path of its own. */
export const urlOf = (path: string): string => new URL(path.replace(/^\//, ''), document.baseURI).href;

export class Api {
  readonly #keys: Keys;
  /** Requests a minute that the key may make, where it has a limit. */
  #perMinute = Infinity;

  constructor(keys: Keys) {
    this.#keys = keys;
  }

  /** Whether requests carry a key just now. */
  get hasKey(): boolean {
    return this.#keys.current !== undefined;
  }

  get headers(): Record<string, string> {
    const key = this.#keys.current;
    return key === undefined ? {} : { Authorization: `Bearer ${key}` };
  }

  /** How long to wait between two questions of the same kind, in ms: a quarter of a key's requests is enough for them. */
  pace(wantedMs: number): number {
    return Math.max(wantedMs, (MINUTE_MS * POLLING_SHARE) / this.#perMinute);
  }

  /**
   * Asks for a key where one is needed, then tries again.
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

  /** Whether there is a key now that was not there when a request was refused. */
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

/** Details of problems begin small, as they follow a title; here one stands alone. */
const sentence = (detail: string): string => `${detail.charAt(0).toUpperCase()}${detail.slice(1)}.`;
