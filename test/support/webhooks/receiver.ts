/** A receiver of webhooks that records its requests and answers as the test tells it. */
import {
  createServer,
  type IncomingHttpHeaders,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Certificate } from '../network/certificates.ts';

export interface Received {
  at: number;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  /** The name that a client says it wants, by SNI. */
  servername: string | false | undefined;
}

export type Behaviour = (received: Received, response: ServerResponse) => void;

export const answer =
  (status: number, headers: Record<string, string> = {}, body = ''): Behaviour =>
  (_received, response) => {
    response.writeHead(status, headers).end(body);
  };

export class Receiver {
  readonly received: Received[] = [];
  /** The addresses of this machine that connections were made to, whatever came of them. */
  readonly connections: string[] = [];
  behave: Behaviour;
  readonly #server: Server;
  readonly #scheme: 'http' | 'https';

  private constructor(behave: Behaviour, certificate: Certificate | undefined) {
    this.behave = behave;
    this.#scheme = certificate ? 'https' : 'http';
    const listener: RequestListener = (request, response) => {
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => {
        const received: Received = {
          at: Date.now(),
          path: request.url ?? '',
          headers: request.headers,
          body: Buffer.concat(pieces).toString(),
          servername: (request.socket as Partial<TLSSocket>).servername ?? undefined,
        };
        this.received.push(received);
        this.behave(received, response);
      });
    };
    this.#server = certificate ? createTlsServer(certificate, listener) : createServer(listener);
    this.#server.on('connection', ({ localAddress }: Socket) => {
      this.connections.push(localAddress?.replace('::ffff:', '') ?? '');
    });
  }

  /** On any free port of loopback; with TLS if there is a certificate. */
  static start(behave: Behaviour = answer(204), certificate?: Certificate): Promise<Receiver> {
    return new Receiver(behave, certificate).#listen('127.0.0.1');
  }

  /** On a port of every address that this machine has, to see which of them is reached. */
  static startEverywhere(behave: Behaviour = answer(204)): Promise<Receiver> {
    return new Receiver(behave, undefined).#listen(undefined);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** @param path tells the deliveries of one test from those of others */
  url(path = '/'): string {
    return `${this.#scheme}://127.0.0.1:${this.port}${path}`;
  }

  at(path: string): Received[] {
    return this.received.filter((each) => each.path === path);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #listen(host: string | undefined): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, host, resolve));
    return this;
  }
}
