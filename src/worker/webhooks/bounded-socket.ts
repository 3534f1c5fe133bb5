/**
 * A receiver's bytes, at most so many of them, and in small pieces. Node's HTTP parser works through whatever came in one
 * read (64 KB) without a pause, and calls back for every interim response, chunk and header in it: in pieces, it can be
 * stopped between two of them.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/** Some 40 of the shortest interim responses. */
const PIECE_BYTES = 1024;

export class BoundedSocket extends Duplex {
  readonly #socket: Socket;
  #left: number;

  /**
   * @param socket becomes part of this one, and ends with it
   * @param maxBytes beyond which both are destroyed, with an error that says so
   */
  constructor(socket: Socket, maxBytes: number) {
    // Writing goes on when the other side has ended, as with the socket itself; no buffer but the socket's own.
    super({ readableHighWaterMark: 0, writableHighWaterMark: 0 });
    this.#socket = socket;
    this.#left = maxBytes;
    socket.on('data', (bytes: Buffer) => this.#onData(bytes, maxBytes));
    socket.on('end', () => this.push(null));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.destroy());
  }

  #onData(bytes: Buffer, maxBytes: number): void {
    const allowed = bytes.subarray(0, this.#left);
    this.#left -= allowed.length;
    for (let from = 0; from < allowed.length && !this.destroyed; from += PIECE_BYTES) {
      if (!this.push(allowed.subarray(from, from + PIECE_BYTES))) this.#socket.pause();
    }
    if (bytes.length > allowed.length && !this.destroyed) {
      this.destroy(new Error(`the response is longer than ${maxBytes} bytes`));
    }
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(bytes: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(bytes, encoding, done);
  }

  override _final(done: () => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
