/** One hostile caller: its requests, its open connections, and the outcome of each. */
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Outcome {
  /** HTTP status; `no answer` at the end of the attack, `broken off` by the server, `held` until the attacker let go. */
  status: number | 'no answer' | 'broken off' | 'held';
  /** Of the answer's body. */
  bytes: number;
}

/** What an attacker knows of the stack: attacked-stack.ts is one. */
export interface Target {
  url: string;
  /** Ports of loopback that webhooks may go to. */
  receiverPorts: readonly number[];
  /** Folder with the blobs. */
  disk: string;
}

export interface Call {
  method?: string;
  path: string;
  headers?: Record<string, string>;
  /** A list is sent piece by piece, chunked. */
  body?: Buffer | string | readonly Buffer[];
}

/** An attack needed another answer than it got. */
class NoAnswer extends Error {}

export class Attacker {
  readonly outcomes: Outcome[] = [];
  readonly target: Target;
  readonly #key: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: Infinity });
  readonly #sockets = new Set<Socket>();
  /** Ends the attack: its time is over, or the server has died. */
  readonly signal: AbortSignal;

  constructor(target: Target, key: string, signal: AbortSignal) {
    this.target = target;
    this.#key = key;
    this.signal = signal;
  }

  get over(): boolean {
    return this.signal.aborted;
  }

  /** Sends a request and reads its answer to the end. Never rejects. @returns the answer, with up to 100 KB of its body */
  send({ method = 'POST', path, headers = {}, body }: Call): Promise<Outcome & { text: string }> {
    return new Promise((resolve) => {
      const outcome: Outcome = { status: 'broken off', bytes: 0 };
      let text = '';
      let done = false;
      const end = () => {
        if (done) return;
        done = true;
        this.signal.removeEventListener('abort', abort);
        this.outcomes.push(outcome);
        resolve({ ...outcome, text });
      };
      const sent = request(this.target.url + path, {
        method,
        agent: this.#agent,
        headers: {
          Authorization: `Bearer ${this.#key}`,
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...(body !== undefined && !isPieces(body) ? { 'Content-Length': Buffer.byteLength(body) } : {}),
          ...headers,
        },
      });
      const abort = () => {
        if (outcome.status === 'broken off') outcome.status = 'no answer';
        sent.destroy();
        end();
      };
      this.signal.addEventListener('abort', abort);
      sent.on('response', (response) => {
        outcome.status = response.statusCode ?? 0;
        response.on('data', (data: Buffer) => {
          outcome.bytes += data.length;
          if (text.length < 100_000) text += data.toString();
        });
        response.on('end', end).on('error', end).on('close', end);
      });
      // An answer may be there before the request is whole: the error of the write comes first, the answer behind it.
      sent.on('error', () => setTimeout(end, 100));
      if (this.over) abort();
      else if (isPieces(body)) void sendPieces(sent, body, this.signal);
      else sent.end(body);
    });
  }

  /** Runs an attack; one that cannot go on for lack of an answer has done what it could. */
  async attack(run: (attacker: this) => Promise<void>): Promise<void> {
    try {
      await run(this);
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
    }
  }

  /** Sends a request and parses the answer. @throws NoAnswer when it is refused, or there is none */
  async parsed<T>(call: Call): Promise<T> {
    const { text, status } = await this.send(call);
    if (typeof status !== 'number' || status >= 400)
      throw new NoAnswer(`${call.path}: ${status} ${text.slice(0, 200)}`);
    return JSON.parse(text) as T;
  }

  /** A connection that writes `pieces`, one every `everyMs`, and then holds still. It reads nothing unless `reads`. */
  hold(pieces: Iterable<Buffer | string>, { everyMs = 0, reads = true } = {}): Socket {
    const { hostname, port } = new URL(this.target.url);
    const socket = connect(Number(port), hostname);
    this.#sockets.add(socket);
    const outcome: Outcome = { status: 'held', bytes: 0 };
    this.outcomes.push(outcome);
    socket.on('error', () => {});
    if (reads) {
      socket.on('data', (data: Buffer) => {
        outcome.bytes += data.length;
        const [, status] = /^HTTP\/1\.1 (\d{3})/.exec(data.toString('latin1', 0, 20)) ?? [];
        if (outcome.status === 'held' && status !== undefined) outcome.status = Number(status);
      });
    }
    socket.on('close', () => {
      if (outcome.status === 'held' && !this.#released) outcome.status = 'broken off';
      this.#sockets.delete(socket);
    });
    void write(socket, pieces, everyMs);
    return socket;
  }

  /** First lines of a request by hand, without the empty one that ends them. */
  head(method: string, path: string, headers: Record<string, string | number>): string {
    const lines = Object.entries({ Host: 'localhost', Authorization: `Bearer ${this.#key}`, ...headers });
    return `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}`;
  }

  /** Connections that the server still keeps open. */
  get held(): number {
    return this.#sockets.size;
  }

  #released = false;

  /** Lets go of all connections. */
  release(): void {
    this.#released = true;
    for (const socket of this.#sockets) socket.destroy();
    this.#agent.destroy();
  }

  /** Waits, but not beyond the end of the attack. */
  async pause(seconds: number): Promise<void> {
    await sleep(seconds * 1000, undefined, { signal: this.signal }).catch(() => {});
  }

  /** Has `clients` loops call `once` until it was called `count` times, or so many seconds are over. */
  async repeat(
    count: number,
    clients: number,
    once: (i: number) => Promise<unknown>,
    seconds = Infinity,
  ): Promise<void> {
    const end = performance.now() + seconds * 1000;
    let next = 0;
    await Promise.all(
      Array.from({ length: clients }, async () => {
        for (let i = next++; i < count && !this.over && performance.now() < end; i = next++) await once(i);
      }),
    );
  }
}

const isPieces = (body: Call['body']): body is readonly Buffer[] => Array.isArray(body);

async function sendPieces(
  sent: ReturnType<typeof request>,
  pieces: readonly Buffer[],
  signal: AbortSignal,
): Promise<void> {
  for (const piece of pieces) {
    if (signal.aborted || sent.destroyed) return;
    if (!sent.write(piece)) await drained(sent);
  }
  sent.end();
}

async function write(socket: Socket, pieces: Iterable<Buffer | string>, everyMs: number): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    if (!socket.write(piece)) await drained(socket);
    if (everyMs > 0) await sleep(everyMs);
  }
}

/** Resolves when `stream` takes more, or never will. */
function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      stream.off('drain', end).off('close', end);
      resolve();
    };
    stream.on('drain', end).on('close', end);
  });
}
