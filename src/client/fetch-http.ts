/** HTTP exchanges over fetch, for Node, Deno, Bun and browsers. */
import { AmuletError, ApiError } from './errors.ts';
import { connectionError, Http, longestSilence, readProblem, retryAfterS } from './exchange.ts';
import type { HttpRequest } from './exchange.ts';

export interface FetchHttpOptions {
  /** With the path under which a proxy serves the API, if any. */
  base: URL;
  /** Headers of every request, such as `Authorization`. */
  headers: Record<string, string>;
  fetch: typeof globalThis.fetch;
  /** Longest time without a response, or between two pieces of one, in ms. */
  idleMs: number;
}

export class FetchHttp extends Http {
  readonly #options: FetchHttpOptions;

  constructor(options: FetchHttpOptions) {
    super(options.base);
    this.#options = options;
  }

  async send(request: HttpRequest): Promise<AsyncIterable<Uint8Array>> {
    const { fetch } = this.#options;
    // Outside of the try block: errors of these are not network errors.
    const headers = new Headers({ ...this.#options.headers, ...request.headers });
    const url = this.urlOf(request);
    const watch = new Watch(longestSilence(request, this.#options.idleMs), request.signal);
    try {
      const response = await fetch(url, {
        method: request.method,
        headers,
        body: (request.body ?? null) as NonNullable<RequestInit['body']> | null,
        signal: watch.signal,
        // The API never redirects; another server must not get the key.
        redirect: 'manual',
      });
      watch.touch();
      const body = pieces(response, watch);
      if (response.ok) return body;
      const problem = await readProblem(body);
      if (response.statusText !== '') problem.title ??= response.statusText;
      throw new ApiError(response.status, problem, retryAfterS(response.headers.get('retry-after')));
    } catch (error) {
      throw watch.explain(error);
    }
  }
}

async function* pieces(response: Response, watch: Watch): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const next = await reader?.read();
      if (next?.value === undefined) return;
      watch.pause();
      yield next.value;
      watch.touch();
    }
  } catch (error) {
    throw watch.explain(error);
  } finally {
    watch.end();
    // Tells the server when the caller stops reading early.
    await reader?.cancel().catch(() => {});
  }
}

/** A longer timer, such as Infinity, would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Aborts an exchange on its caller's signal or on silence. Not AbortSignal.any: its signals live as long as the caller's signal,
 * which may be one for millions of requests.
 */
class Watch {
  readonly #controller = new AbortController();
  readonly #idleMs: number;
  readonly #caller: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silent = false;

  constructor(idleMs: number, caller: AbortSignal | undefined) {
    this.#idleMs = idleMs;
    this.#caller = caller;
    caller?.throwIfAborted();
    caller?.addEventListener('abort', this.#abort);
    this.touch();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Restarts the timer after activity. */
  touch(): void {
    this.pause();
    if (this.#idleMs > LONGEST_TIMER_MS) return;
    this.#timer = setTimeout(() => {
      this.#silent = true;
      this.#controller.abort();
    }, this.#idleMs);
  }

  /** Stops the timer while the caller works. */
  pause(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.pause();
    this.#caller?.removeEventListener('abort', this.#abort);
  }

  /** Converts an error of fetch or of a body, and ends the watch. */
  explain(error: unknown): unknown {
    this.end();
    if (this.#caller?.aborted === true) return this.#caller.reason;
    if (error instanceof AmuletError || !(error instanceof Error)) return error;
    if (this.#silent) return connectionError('ETIMEDOUT', error);
    // Node gives the reason in the cause; browsers give none.
    const { code } = (error.cause ?? error) as { code?: unknown };
    return connectionError(typeof code === 'string' ? code : 'NO_CONNECTION', error);
  }

  readonly #abort = (): void => this.#controller.abort(this.#caller?.reason);
}
