/**
 * One HTTP exchange after another with one server, over node:http(s). Not fetch: that copies every body, cannot say how
 * much of it has gone out, gives up after five silent minutes, and takes 17 MB of memory before the first byte (Node 24).
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { ApiError, ConnectionError, ProtocolError, type Problem } from './errors.ts';

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below the base URL, beginning with a slash. */
  path: string;
  /** Undefined values are left out. */
  query?: Record<string, string | number | undefined>;
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** Ends the exchange, its answer included, with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Longest time without a byte in either direction, in ms; default a minute. */
  idleMs?: number;
  /** Told as the body goes out: its first `bytes` bytes are with the operating system. */
  onSent?: (bytes: number) => void;
}

/** An answer with a status below 400. Its body must be read, or the connection is not used again. */
export interface HttpAnswer {
  status: number;
  body: AsyncIterable<Buffer>;
}

const DEFAULT_IDLE_MS = 60_000;
/** The body is handed over in slices of this size, so that onSent has something to tell. */
const SLICE_BYTES = 256 * 1024;
/** The list of 10,000 parts has 2 MB. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;

export class HttpClient {
  readonly #base: URL;
  readonly #agent: http.Agent;
  readonly #request: typeof http.request;
  readonly #headers: Record<string, string>;

  /**
   * @param headers of every request, such as `Authorization`
   * @param base http: or https:, with a path if a proxy serves the API under one
   */
  constructor(base: URL, headers: Record<string, string> = {}) {
    this.#headers = headers;
    this.#base = base;
    const secure = base.protocol === 'https:';
    this.#agent = secure ? new https.Agent({ keepAlive: true }) : new http.Agent({ keepAlive: true });
    this.#request = secure ? https.request : http.request;
  }

  /**
   * @throws ConnectionError, ApiError (status 400 and above), or the signal's reason
   */
  async send(request: HttpRequest): Promise<HttpAnswer> {
    const { signal } = request;
    signal?.throwIfAborted();
    try {
      const answer = await this.#exchange(request);
      const status = answer.statusCode ?? 0;
      if (status < 300) return { status, body: chunks(answer, signal) };
      throw await refusal(answer, status);
    } catch (error) {
      signal?.throwIfAborted();
      throw asConnectionError(error);
    }
  }

  /** Sends, and parses the answer. @throws ProtocolError when it is not JSON, and what send() throws */
  async json(request: HttpRequest): Promise<unknown> {
    const { body } = await this.send({
      ...request,
      headers: { Accept: 'application/json', ...request.headers },
    });
    const text = await readText(body);
    try {
      return JSON.parse(text) as unknown;
    } catch {
      throw new ProtocolError(`${this.#base.href} answered with something that is not JSON`);
    }
  }

  /** Closes the connections. */
  close(): void {
    this.#agent.destroy();
  }

  #exchange({ method, path, query = {}, headers, body, signal, idleMs, onSent }: HttpRequest) {
    return new Promise<http.IncomingMessage>((resolve, reject) => {
      const url = new URL(this.#base.pathname.replace(/\/$/, '') + path, this.#base);
      for (const [name, value] of Object.entries(query)) {
        if (value !== undefined) url.searchParams.set(name, String(value));
      }
      const request = this.#request(url, {
        method,
        agent: this.#agent,
        headers: { ...this.#headers, ...headers, 'Content-Length': body?.length ?? 0 },
        ...(signal && { signal }),
      });
      let answer: http.IncomingMessage | undefined;
      request.setTimeout(idleMs ?? DEFAULT_IDLE_MS, () => {
        (answer ?? request).destroy(new ConnectionError('ETIMEDOUT', 'no answer'));
      });
      request.once('response', (message) => {
        answer = message;
        resolve(message);
      });
      // Stays: a socket may also fail after the answer has begun, which its reader is told by the body.
      request.on('error', reject);
      sendBody(request, body ?? Buffer.alloc(0), onSent);
    });
  }
}

/** Writes as fast as the socket takes it. The answer may come before the end, which is no reason to stop. */
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

async function readText(body: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_JSON_BYTES) throw new ProtocolError('the answer is longer than any of Amulet');
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString();
}

async function refusal(answer: http.IncomingMessage, status: number): Promise<ApiError> {
  const text = await readText(chunks(answer));
  return new ApiError(status, parseProblem(text), retryAfterS(answer.headers['retry-after']));
}

/** Proxies answer with pages of HTML, of which nothing is of use. */
function parseProblem(text: string): Problem {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return {};
  }
  const members =
    typeof value === 'object' && value !== null ? new Map<string, unknown>(Object.entries(value)) : new Map();
  const string = (name: string) => {
    const member: unknown = members.get(name);
    return typeof member === 'string' ? member : undefined;
  };
  return { title: string('title'), detail: string('detail'), code: string('code') };
}

/** Seconds, from either form of the header. */
export function retryAfterS(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header);
  const time = Date.parse(header);
  return Number.isNaN(time) ? undefined : Math.max(0, (time - now) / 1000);
}

const REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection lost',
  EPIPE: 'connection lost',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'host not reachable',
  ENETUNREACH: 'network not reachable',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no answer from the DNS',
};

function asConnectionError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof ApiError || error instanceof ProtocolError) return error;
  if (error instanceof ConnectionError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  return new ConnectionError(code, REASONS[code] ?? error.message, error);
}
