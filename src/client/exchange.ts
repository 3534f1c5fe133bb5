/**
 * One HTTP exchange, as its two transports make it: http.ts over node:http for the `amulet` command, fetch-http.ts over fetch
 * for programs. Free of Node.
 */
import { ConnectionError, ProtocolError, type FieldError, type Problem } from './errors.ts';

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below the base URL, with a leading slash. */
  path: string;
  /** Undefined values are omitted. */
  query?: Record<string, string | number | undefined>;
  headers?: Record<string, string>;
  body?: Uint8Array;
  /** Ends the exchange, including the response, with its reason. */
  signal?: AbortSignal | undefined;
  /** Longest time without a byte, in ms. */
  idleMs?: number;
  /** performance.now() after which the caller stops waiting; default: never. */
  until?: number | undefined;
  /** Called as the body is sent, where the transport can tell: the operating system has its first `bytes` bytes. */
  onSent?: (bytes: number) => void;
}

export abstract class Http {
  readonly #base: URL;

  /** @param base address of the server, with the path under which a proxy serves the API, if any */
  constructor(base: URL) {
    this.#base = base;
  }

  /**
   * @returns the body of a response with a status below 300. It must be read, or the connection is not reused
   * @throws ConnectionError, ApiError (status 300 and above), or the signal's reason
   */
  abstract send(request: HttpRequest): Promise<AsyncIterable<Uint8Array>>;

  /** Sends, and parses the response. @throws ProtocolError when it is not JSON, and the errors of send() */
  async json(request: HttpRequest): Promise<unknown> {
    const headers = { Accept: 'application/json', ...request.headers };
    const text = await readText(await this.send({ ...request, headers }));
    try {
      return JSON.parse(text) as unknown;
    } catch {
      throw new ProtocolError(`${this.#base.href} answered with something that is not JSON`);
    }
  }

  /** The URL of a request. */
  protected urlOf(request: HttpRequest): URL {
    return urlOf(this.#base, request);
  }
}

/** Extra time for the response to a request sent just before the deadline. */
const LAST_ANSWER_MS = 1000;

/** Longest time without a byte, in ms. @param defaultMs for requests without idleMs */
export function longestSilence(
  { idleMs, until = Infinity }: Pick<HttpRequest, 'idleMs' | 'until'>,
  defaultMs: number,
): number {
  return Math.min(idleMs ?? defaultMs, Math.max(0, until - performance.now()) + LAST_ANSWER_MS);
}

/** The largest response, a list of 10,000 parts, has 2 MB. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;

/** Problem documents of Amulet have at most 64 KB; a proxy's page of HTML is useless. */
const MAX_PROBLEM_BYTES = 256 * 1024;
/** Limits of each text in a problem and of its errors, since they go into messages. */
const MAX_PROBLEM_CHARS = 4000;
const MAX_PROBLEM_ERRORS = 100;

/** @param base with a path if a proxy serves the API under one */
export function urlOf(base: URL, { path, query = {} }: HttpRequest): URL {
  const url = new URL(base.pathname.replace(/\/$/, '') + path, base);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  return url;
}

/** @throws ProtocolError beyond `maxBytes` */
export async function readText(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number = MAX_JSON_BYTES,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const piece of body) {
    bytes += piece.length;
    if (bytes > maxBytes) throw new ProtocolError('the answer is longer than any that Amulet sends');
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

/** Reads the problem document of a refusal; empty when the body is something else, or longer than one. */
export async function readProblem(body: AsyncIterable<Uint8Array>): Promise<Problem> {
  let value: unknown;
  try {
    value = JSON.parse(await readText(body, MAX_PROBLEM_BYTES));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof ProtocolError) return {};
    throw error;
  }
  const members = new Map<string, unknown>(
    typeof value === 'object' && value !== null ? Object.entries(value) : [],
  );
  const string = (name: string) => {
    const member = members.get(name);
    return typeof member === 'string' ? member.slice(0, MAX_PROBLEM_CHARS) : undefined;
  };
  const errors = members.get('errors');
  return {
    title: string('title'),
    detail: string('detail'),
    code: string('code'),
    errors: Array.isArray(errors)
      ? errors.filter(isFieldError).slice(0, MAX_PROBLEM_ERRORS).map(shortened)
      : undefined,
    requestId: string('request_id'),
  };
}

function shortened({ path, message }: FieldError): FieldError {
  return { path: path.slice(0, MAX_PROBLEM_CHARS), message: message.slice(0, MAX_PROBLEM_CHARS) };
}

function isFieldError(value: unknown): value is FieldError {
  const { path, message } = (value ?? {}) as Partial<FieldError>;
  return typeof path === 'string' && typeof message === 'string';
}

/** Seconds, from either form of the header. */
export function retryAfterS(header: string | null | undefined, now = Date.now()): number | undefined {
  if (header === undefined || header === null) return undefined;
  if (/^\d+$/.test(header.trim())) return Number(header);
  const time = Date.parse(header);
  return Number.isNaN(time) ? undefined : Math.max(0, (time - now) / 1000);
}

const REASONS: Record<string, string> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection lost',
  EPIPE: 'connection lost',
  UND_ERR_SOCKET: 'connection lost',
  ETIMEDOUT: 'no answer',
  UND_ERR_CONNECT_TIMEOUT: 'no answer',
  EHOSTUNREACH: 'host not reachable',
  ENETUNREACH: 'network not reachable',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no answer from the DNS',
};

export function connectionError(code: string, cause: Error): ConnectionError {
  return new ConnectionError(code, REASONS[code] ?? cause.message, cause);
}
