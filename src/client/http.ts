/**
 * HTTP exchanges of the `amulet` command with one server, over node:http(s). Not fetch: fetch copies every body, cannot tell how
 * much of it has been sent, gives up after five silent minutes, and takes 17 MB of memory before the first byte (Node 24).
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { AmuletError, ApiError, ConnectionError } from './errors.ts';
import { connectionError, Http, longestSilence, readProblem, retryAfterS } from './exchange.ts';
import type { HttpRequest } from './exchange.ts';

const DEFAULT_IDLE_MS = 60_000;
/** The body is written in slices of this size, so that onSent can report progress. */
const SLICE_BYTES = 256 * 1024;

export class HttpClient extends Http {
  readonly #agent: http.Agent;
  readonly #request: typeof http.request;
  readonly #headers: Record<string, string>;

  /** @param headers of every request, such as `Authorization` */
  constructor(base: URL, headers: Record<string, string> = {}) {
    super(base);
    this.#headers = headers;
    const secure = base.protocol === 'https:';
    this.#agent = secure ? new https.Agent({ keepAlive: true }) : new http.Agent({ keepAlive: true });
    this.#request = secure ? https.request : http.request;
  }

  async send(request: HttpRequest): Promise<AsyncIterable<Buffer>> {
    const { signal } = request;
    signal?.throwIfAborted();
    try {
      const answer = await this.#exchange(request);
      const status = answer.statusCode ?? 0;
      if (status < 300) return chunks(answer, signal);
      throw await refusal(answer, status);
    } catch (error) {
      signal?.throwIfAborted();
      throw asConnectionError(error);
    }
  }

  /** Closes the connections. */
  close(): void {
    this.#agent.destroy();
  }

  #exchange(wanted: HttpRequest) {
    const { method, headers, body, signal, onSent } = wanted;
    return new Promise<http.IncomingMessage>((resolve, reject) => {
      const request = this.#request(this.urlOf(wanted), {
        method,
        agent: this.#agent,
        headers: { ...this.#headers, ...headers, 'Content-Length': body?.length ?? 0 },
        ...(signal && { signal }),
      });
      let answer: http.IncomingMessage | undefined;
      request.setTimeout(longestSilence(wanted, DEFAULT_IDLE_MS), () => {
        (answer ?? request).destroy(new ConnectionError('ETIMEDOUT', 'no answer'));
      });
      request.once('response', (message) => {
        answer = message;
        resolve(message);
      });
      // Stays after the response has started: the socket may still fail, which the body reports to its reader.
      request.on('error', reject);
      sendBody(request, body ?? Buffer.alloc(0), onSent);
    });
  }
}

/** Writes as fast as the socket accepts. Continues if the response arrives before the end. */
function sendBody(request: http.ClientRequest, body: Uint8Array, onSent?: (bytes: number) => void): void {
  let from = 0;
  const writeOn = () => {
    while (from < body.length && !request.destroyed) {
      const end = Math.min(body.length, from + SLICE_BYTES);
      const flowing = request.write(body.subarray(from, end), () => onSent?.(end));
      from = end;
      if (!flowing) {
        request.once('drain', writeOn);
        return;
      }
    }
    if (!request.destroyed) request.end();
  };
  writeOn();
}

async function* chunks(answer: http.IncomingMessage, signal?: AbortSignal): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer) yield chunk as Buffer;
  } catch (error) {
    signal?.throwIfAborted();
    throw asConnectionError(error);
  }
}

async function refusal(answer: http.IncomingMessage, status: number): Promise<ApiError> {
  const problem = await readProblem(chunks(answer));
  problem.title ??= http.STATUS_CODES[status];
  return new ApiError(status, problem, retryAfterS(answer.headers['retry-after']));
}

function asConnectionError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof AmuletError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  return connectionError(code, error);
}
