/** Requests to one server, with retries. */
import { ApiError } from './errors.ts';
import { readText, type Http, type HttpRequest } from './exchange.ts';
import { GaveUpError, Retrier } from './retry.ts';

/** Retries an attempt until it succeeds or retrying is useless. @throws the last AmuletError, or the signal's reason */
export type Attempts = <T>(attempt: () => Promise<T>) => Promise<T>;

/** Never aborted. */
const NO_SIGNAL = new AbortController().signal;

export class Server {
  readonly http: Http;
  readonly #retryTimeoutMs: number;

  /** @param retryTimeoutMs how long a call is retried without success */
  constructor(http: Http, retryTimeoutMs: number) {
    this.http = http;
    this.#retryTimeoutMs = retryTimeoutMs;
  }

  /**
   * Retries for work of several steps, which share the time limit; each success restarts it.
   * @param until performance.now() after which nothing is retried
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

  /** Sends a request and parses the response. @throws AmuletError, or the signal's reason */
  json<T>(request: HttpRequest): Promise<T> {
    return this.attempts(request.signal, request.until)(() => this.http.json(request) as Promise<T>);
  }

  /**
   * Cancels a job or batch, or removes one that has ended. DELETE does both: repeated after a lost response, it would cancel and
   * then remove, so a repetition reads the state first.
   * @returns the new state; undefined once removed
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
      const text = await readText(await this.http.send({ method: 'DELETE', path, signal }));
      return text === '' ? undefined : (JSON.parse(text) as T);
    });
  }
}

/** Turns a 404 into undefined; throws other errors. */
function undefinedIfMissing(error: unknown): undefined {
  if (error instanceof ApiError && error.status === 404) return undefined;
  throw error;
}
