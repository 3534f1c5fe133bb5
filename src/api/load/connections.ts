/** Connection limits: how many there may be, and how long a stuck one stays open. Node limits neither. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface ConnectionLimits {
  maxConnections: number;
  /** Milliseconds without progress after which a response that its client does not read is aborted. */
  answerIdleMs: number;
}

export function limitConnections(server: Server, { maxConnections, answerIdleMs }: ConnectionLimits): void {
  server.maxConnections = maxConnections;
  // Connections between two requests make room for a new one.
  server.on('drop', () => server.closeIdleConnections());
  server.timeout = answerIdleMs;
}

/** Closes connections that would stay open without use: those with an unread request body, or whose client does not read. */
export function closingStuckConnections(handle: RequestListener): RequestListener {
  return (request, response) => {
    // No route reads the body of a GET, so none would notice that it never ends.
    if (hasUnreadBody(request)) response.shouldKeepAlive = false;
    response.on('timeout', closeUnread);
    handle(request, response);
  };
}

const hasUnreadBody = ({ method, headers }: IncomingMessage): boolean =>
  (method === 'GET' || method === 'HEAD') &&
  (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0);

/** Called after server.timeout without progress. Waiting for a job or for more results is allowed; unread bytes are not. */
function closeUnread(this: ServerResponse, socket: Socket): void {
  if (socket.writableLength > 0) socket.destroy();
}
