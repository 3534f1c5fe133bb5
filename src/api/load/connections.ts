/** What one connection, and all of them, may hold: Node bounds neither. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

export interface ConnectionLimits {
  maxConnections: number;
  /** ms without progress after which an answer that its client does not read is given up. */
  answerIdleMs: number;
}

export function limitConnections(server: Server, { maxConnections, answerIdleMs }: ConnectionLimits): void {
  server.maxConnections = maxConnections;
  // Those between two requests make room for the next one.
  server.on('drop', () => server.closeIdleConnections());
  server.timeout = answerIdleMs;
}

/** Gives up connections that would stay open without being of use to anybody. */
export function closingStuckConnections(handle: RequestListener): RequestListener {
  return (request, response) => {
    // Nobody reads it, so nobody ends it either when it does not come to its end.
    if (hasUnreadBody(request)) response.shouldKeepAlive = false;
    response.on('timeout', giveUpUnread);
    handle(request, response);
  };
}

const hasUnreadBody = ({ method, headers }: IncomingMessage): boolean =>
  (method === 'GET' || method === 'HEAD') &&
  (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0);

/** Nothing has moved for server.timeout. Waiting for a job or for more results is no reason to end; unread bytes are. */
function giveUpUnread(this: ServerResponse, socket: Socket): void {
  if (socket.writableLength > 0) socket.destroy();
}
