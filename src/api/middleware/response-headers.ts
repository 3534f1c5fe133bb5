/**
 * Response headers: those of every response, and the way to set others. They go to Node's response: Hono's `Headers` checks,
 * copies and sorts all of them several times for each request.
 */
import type { ServerResponse } from 'node:http';
import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { AppEnv } from '../env.ts';

/**
 * Tells browsers to guess no media types, and to share the responses with no other site. Without Strict-Transport-Security: TLS
 * ends at a proxy, if anywhere; promising it from here would lock browsers out of http://localhost.
 */
const SECURITY_HEADERS = new Map([
  ['Cross-Origin-Opener-Policy', 'same-origin'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  ['Origin-Agent-Cluster', '?1'],
  ['Referrer-Policy', 'no-referrer'],
  ['X-Content-Type-Options', 'nosniff'],
  ['X-DNS-Prefetch-Control', 'off'],
  ['X-Download-Options', 'noopen'],
  ['X-Frame-Options', 'SAMEORIGIN'],
  ['X-Permitted-Cross-Domain-Policies', 'none'],
  ['X-XSS-Protection', '0'],
]);

/** A caller's own id of a request, which is written into logs. */
const REQUEST_ID = /^[\w\-=]{1,255}$/;

/** Gives every response the security headers, and the id of its request: the caller's, or a new one. */
export const commonHeaders = createMiddleware<AppEnv>((c, next) => {
  const given = c.req.header('x-request-id');
  const id = given !== undefined && REQUEST_ID.test(given) ? given : crypto.randomUUID();
  c.set('requestId', id);
  nodeResponse(c)?.setHeaders(SECURITY_HEADERS);
  setHeader(c, 'X-Request-Id', id);
  return next();
});

/** Sets a header of the response to this request, whatever answers it: also a problem. */
export function setHeader(c: Context<AppEnv>, name: string, value: string): void {
  const response = nodeResponse(c);
  if (response) response.setHeader(name, value);
  else c.header(name, value);
}

/** Node's own response; undefined when a test calls `app.request()`. */
export function nodeResponse(c: Context<AppEnv>): ServerResponse | undefined {
  return (c.env as Partial<AppEnv['Bindings']> | undefined)?.outgoing;
}
