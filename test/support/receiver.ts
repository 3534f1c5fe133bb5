/** A receiver of webhooks that remembers what it was sent, and answers as it is told. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Received {
  at: number;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export type Behaviour = (received: Received, response: ServerResponse) => void;

export const answer =
  (status: number, headers: Record<string, string> = {}, body = ''): Behaviour =>
  (_received, response) => {
    response.writeHead(status, headers).end(body);
  };

export class Receiver {
  readonly received: Received[] = [];
  behave: Behaviour;
  readonly #server: Server;

  private constructor(behave: Behaviour) {
    this.behave = behave;
    this.#server = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        const received: Received = {
          at: Date.now(),
          path: request.url ?? '',
          headers: request.headers,
          body: Buffer.concat(pieces).toString(),
        };
        this.received.push(received);
        this.behave(received, response);
      });
    });
  }

  /** On any free port of loopback. */
  static async start(behave: Behaviour = answer(204)): Promise<Receiver> {
    const receiver = new Receiver(behave);
    await new Promise<void>((resolve) => receiver.#server.listen(0, '127.0.0.1', resolve));
    return receiver;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** @param path tells the deliveries of one test from those of others */
  url(path = '/'): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  at(path: string): Received[] {
    return this.received.filter((each) => each.path === path);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
