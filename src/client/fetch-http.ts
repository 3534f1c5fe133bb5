/** HTTP exchanges by fetch: in Node, Deno, Bun and browsers. */
import { AmuletError, ApiError } from './errors.ts';
import {
  connectionError,
  longestSilence,
  parseJson,
  readProblem,
  retryAfterS,
  urlOf,
  type Http,
  type HttpAnswer,
  type HttpRequest,
} from './exchange.ts';

export interface FetchHttpOptions {
  /** With a path if a proxy serves the API under one. */
  base: URL;
  /** Of every request, such as `Authorization`. */
  headers: Record<string, string>;
  fetch: typeof globalThis.fetch;
  /** Longest time without an answer, or between two pieces of one, in ms. */
  idleMs: number;
}

export class FetchHttp implements Http {
  readonly #options: FetchHttpOptions;

  constructor(options: FetchHttpOptions) {
    this.#options = options;
  }

  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { base, fetch } = this.#options;
    // Outside of what is caught: what is wrong with these is no trouble of the network.
    const headers = new Headers({ ...this.#options.headers, ...request.headers });
    const url = urlOf(base, request);
    const watch = new Watch(longestSilence(request, this.#options.idleMs), request.signal);
    try {
      const response = await fetch(url, {
        method: request.method,
        headers,
        body: (request.body ?? null) as NonNullable<RequestInit['body']> | null,
        signal: watch.signal,
        // Nothing here redirects: it would be somebody else, who is not to get a key.
        redirect: 'manual',
      });
      watch.touch();
      const body = pieces(response, watch);
      if (response.ok) return { status: response.status, body };
      const problem = await readProblem(body);
      if (response.statusText !== '') problem.title ??= response.statusText;
      throw new ApiError(response.status, problem, retryAfterS(response.headers.get('retry-after')));
    } catch (error) {
      throw watch.explain(error);
    }
  }

  async json(request: HttpRequest): Promise<unknown> {
    const headers = { Accept: 'application/json', ...request.headers };
    return parseJson(await this.send({ ...request, headers }), this.#options.base);
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
    // Whoever stops reading is done with it, and the server is to know.
    await reader?.cancel().catch(() => {});
  }
}

/** A timer of more, such as Infinity, fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * The end of an exchange by its caller's signal or by silence. Not AbortSignal.any: what it makes lives as long as the
 * caller's signal, of which there may be one for millions of requests.
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

  /** Something has happened: the time begins anew. */
  touch(): void {
    this.pause();
    if (this.#idleMs > LONGEST_TIMER_MS) return;
    this.#timer = setTimeout(() => {
      this.#silent = true;
      this.#controller.abort();
    }, this.#idleMs);
  }

  /** The time does not run while the caller works. */
  pause(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.pause();
    this.#caller?.removeEventListener('abort', this.#abort);
  }

  /** What is to be thrown for what fetch, or a body, has thrown. Ends it. */
  explain(error: unknown): unknown {
    this.end();
    if (this.#caller?.aborted === true) return this.#caller.reason;
    if (error instanceof AmuletError || !(error instanceof Error)) return error;
    if (this.#silent) return connectionError('ETIMEDOUT', error);
    // Node tells the reason in the cause; browsers tell none to anybody.
    const { code } = (error.cause ?? error) as { code?: unknown };
    return connectionError(typeof code === 'string' ? code : 'NO_CONNECTION', error);
  }

  readonly #abort = (): void => this.#controller.abort(this.#caller?.reason);
}
