/**
 * Pipelining: handles the requests of one connection one after the other. HTTP/1.1 lets a client send requests without waiting for
 * responses, and Node handles all that arrived in one read (64 KB) in one turn of the event loop: 20 connections with 10,000
 * requests each blocked all other callers for more than 10 s. Responses go out in the order of the requests anyway, so starting a
 * request only after the response to the one before loses nothing.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

interface Connection {
  /** A request is being answered. */
  busy: boolean;
  waiting: [request: IncomingMessage, response: ServerResponse][];
}

/**
 * @param max requests that may wait for earlier ones of their connection; one more closes the connection, because an error
 *   response would have to wait for theirs
 */
export function oneAtATime(handle: RequestListener, max: number): RequestListener {
  const connections = new WeakMap<Socket, Connection>();

  // One function for all requests: a closure for each would cost every request.
  function next(this: ServerResponse): void {
    const { socket } = this.req;
    const connection = connections.get(socket);
    if (!connection) return;
    const first = socket.destroyed ? undefined : connection.waiting.shift();
    connection.busy = first !== undefined;
    if (first) begin(...first);
  }

  function begin(request: IncomingMessage, response: ServerResponse): void {
    response.on('close', next);
    handle(request, response);
  }

  return (request, response) => {
    const { socket } = request;
    let connection = connections.get(socket);
    if (!connection) {
      connection = { busy: false, waiting: [] };
      connections.set(socket, connection);
    }
    if (!connection.busy) {
      connection.busy = true;
      begin(request, response);
    } else if (connection.waiting.length < max) connection.waiting.push([request, response]);
    else socket.destroy();
  };
}
