/**
 * Response headers: those of every response, and the way to set others. They are collected in one object, which Node writes with
 * the status. Its `setHeader()` checks and keeps each by itself, which takes 5 µs a request, and Hono's `Headers` more.
 */
import { ServerResponse, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import type { Context } from 'hono';
import type { AppEnv } from '../env.ts';

/**
 * Tell browsers to guess no media types, and to share the responses with no other site. Without Strict-Transport-Security: TLS
 * ends at a proxy, if anywhere; promising it from here would lock browsers out of http://localhost.
 */
const SECURITY_HEADERS = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-dns-prefetch-control': 'off',
  'x-download-options': 'noopen',
  'x-frame-options': 'SAMEORIGIN',
  'x-permitted-cross-domain-policies': 'none',
  'x-xss-protection': '0',
};

/** Node's response with the headers of every response. */
export class ApiResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  /** Headers by name in lower case; those that the application answers with come in addition, and replace them. */
  readonly headers: Record<string, string> = { ...SECURITY_HEADERS };

  override writeHead(status: number, answered?: object | string): this {
    return super.writeHead(status, Object.assign<OutgoingHttpHeaders, unknown>(this.headers, answered));
  }
}

/** A caller's own id of a request, which is written into logs. */
const REQUEST_ID = /^[\w\-=]{1,255}$/;

/** Gives a request its id, the caller's or a new one, and its response a header with it. */
export function nameRequest(c: Context<AppEnv>): void {
  const given = c.req.header('x-request-id');
  const id = given !== undefined && REQUEST_ID.test(given) ? given : crypto.randomUUID();
  c.set('requestId', id);
  setHeader(c, 'X-Request-Id', id);
}

/** Sets a header of the response to this request, whatever answers it: also a problem. */
export function setHeader(c: Context<AppEnv>, name: string, value: string): void {
  const response = nodeResponse(c);
  if (response) response.headers[name.toLowerCase()] = value;
  else c.header(name, value);
}

/** Node's own response; undefined when a test calls `app.request()`. */
export function nodeResponse(c: Context<AppEnv>): ApiResponse | undefined {
  return (c.env as Partial<AppEnv['Bindings']> | undefined)?.outgoing as ApiResponse | undefined;
}
