/** A TCP proxy that can cut, black-hole, half-close, slow down and restore what runs through it. */
import { createConnection, createServer, type Server, type Socket } from 'node:net';

export class FaultProxy {
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  /** Those of them that lead to the server. */
  readonly #targets = new Set<Socket>();
  #mode: 'pass' | 'refuse' | 'black-hole' = 'pass';
  #delayMs = 0;
  #trap: { text: string; pass: boolean; spring: () => void } | undefined;
  port = 0;

  private constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = createServer((client) => this.#onClient(client));
  }

  static async start(targetPort: number, port = 0): Promise<FaultProxy> {
    const proxy = new FaultProxy(targetPort);
    await new Promise<void>((resolve) => proxy.#server.listen(port, '127.0.0.1', resolve));
    const address = proxy.#server.address();
    if (address !== null && typeof address === 'object') proxy.port = address.port;
    return proxy;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** Closes every connection and refuses new ones. */
  cut(): void {
    this.#mode = 'refuse';
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Keeps connections open and accepts new ones, but lets no byte through, as a dead network does. */
  blackHole(): void {
    this.#mode = 'black-hole';
    for (const socket of this.#sockets) socket.pause();
  }

  /** Everything arrives so much later, in both directions. 0: as fast as it can. */
  slowDown(delayMs: number): void {
    this.#delayMs = delayMs;
  }

  /** Ends every connection at the side of the server only: the clients are not told, and nothing answers them any more. */
  halfClose(): void {
    for (const socket of this.#targets) {
      socket.removeAllListeners('close');
      socket.destroy();
    }
    this.#targets.clear();
  }

  /** Lets new connections through. Black-holed ones stay dead, as they would with their packets lost. */
  heal(): void {
    this.#mode = 'pass';
  }

  /**
   * Waits for the first command that contains a text, and black-holes everything from there on.
   * @param pass whether that command still reaches Redis; its answer does not come back
   */
  trap(text: string, { pass }: { pass: boolean }): Promise<void> {
    return new Promise((spring) => {
      this.#trap = { text, pass, spring };
    });
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #onClient(client: Socket): void {
    if (this.#mode === 'refuse') {
      client.destroy();
      return;
    }
    this.#track(client);
    if (this.#mode === 'black-hole') {
      client.pause();
      return;
    }
    const target = createConnection(this.#targetPort, '127.0.0.1');
    this.#track(target);
    this.#targets.add(target);
    client.on('close', () => target.destroy());
    target.on('close', () => {
      this.#targets.delete(target);
      client.destroy();
    });
    client.on('data', (bytes: Buffer) => {
      const trap = this.#trap;
      const caught = trap && bytes.includes(trap.text);
      if (!caught || trap.pass) this.#forward(bytes, target);
      if (!caught) return;
      this.#trap = undefined;
      this.blackHole();
      trap.spring();
    });
    target.on('data', (bytes: Buffer) => this.#forward(bytes, client));
  }

  #forward(bytes: Buffer, to: Socket): void {
    if (this.#delayMs === 0) to.write(bytes);
    else setTimeout(() => to.write(bytes), this.#delayMs);
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
