/** One server: exchanges with it that are tried again while there is hope. */
import { ApiError } from './errors.ts';
import { readText, type Http, type HttpRequest } from './exchange.ts';
import { GaveUpError, Retrier } from './retry.ts';

/** Tries something until it works, or cannot. @throws the last AmuletError, or the signal's reason */
export type Attempts = <T>(attempt: () => Promise<T>) => Promise<T>;

/** Never fires. */
const NO_SIGNAL = new AbortController().signal;

export class Server {
  readonly http: Http;
  readonly #retryTimeoutMs: number;

  /** @param retryTimeoutMs how long nothing may work before a call fails */
  constructor(http: Http, retryTimeoutMs: number) {
    this.http = http;
    this.#retryTimeoutMs = retryTimeoutMs;
  }

  /**
   * For work of several steps: they share the patience, which is whole again after each that works.
   * @param until performance.now() after which nothing is tried again
   */
  attempts(signal: AbortSignal = NO_SIGNAL, until?: number): Attempts {
    const retrier = new Retrier({ retryTimeoutMs: this.#retryTimeoutMs, signal, until });
    return async (attempt) => {
      try {
        return await retrier.run(attempt);
      } catch (error) {
        throw error instanceof GaveUpError ? error.cause : error;
      }
    };
  }

  /** The answer, parsed. @throws AmuletError, or the signal's reason */
  json<T>(request: HttpRequest): Promise<T> {
    return this.attempts(request.signal, request.until)(() => this.http.json(request) as Promise<T>);
  }

  /**
   * DELETE ends what goes on and removes what has ended: repeated after a lost answer, it would do one after the other.
   * @returns as it is now; undefined when it is removed
   */
  cancel<T extends { status: string }>(path: string, signal?: AbortSignal): Promise<T | undefined> {
    let repeated = false;
    return this.attempts(signal)(async () => {
      if (repeated) {
        const found = await this.http.json({ method: 'GET', path, signal }).catch(undefinedIfMissing);
        const now = found as T | undefined;
        if (!now || now.status === 'canceled') return now;
      }
      repeated = true;
      const { body } = await this.http.send({ method: 'DELETE', path, signal });
      const text = await readText(body);
      return text === '' ? undefined : (JSON.parse(text) as T);
    });
  }
}

/** What is not there (any more) is nothing; other errors are thrown on. */
function undefinedIfMissing(error: unknown): undefined {
  if (error instanceof ApiError && error.status === 404) return undefined;
  throw error;
}
