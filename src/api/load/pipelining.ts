/**
 * Requests of one connection, one after the other. HTTP/1.1 lets a client send the next ones without waiting (pipelining), and Node
 * hands over all that came in one read, 64 KB of them, in one turn of the event loop: 20 connections with 10,000 requests each
 * kept everybody else waiting for more than 10 s. Answers go out in the order of the requests anyway, so nothing is lost by
 * beginning with one when the one before it is answered.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

interface Connection {
  /** A request is being answered. */
  busy: boolean;
  waiting: [request: IncomingMessage, response: ServerResponse][];
}

/**
 * @param max requests that may wait for earlier ones of their connection; with one more, the connection is closed: an answer
 *   would have to wait for the others'
 */
export function oneAtATime(handle: RequestListener, max: number): RequestListener {
  const connections = new WeakMap<Socket, Connection>();

  // One function for all requests, as every request pays for this.
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
