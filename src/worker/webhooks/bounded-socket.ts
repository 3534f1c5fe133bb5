/**
 * Limits how many bytes a receiver may send, and passes them on in small pieces. Node's HTTP parser processes everything from one
 * read (64 KB) without a pause, and calls back for every interim response, chunk and header in it; with small pieces it can be
 * stopped in between.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';

/** Some 40 of the shortest interim responses. */
const PIECE_BYTES = 1024;

export class BoundedSocket extends Duplex {
  readonly #socket: Socket;
  #left: number;

  /**
   * @param socket owned by this one from now on, and ends with it
   * @param maxBytes both sockets are destroyed with an error after more bytes than this
   */
  constructor(socket: Socket, maxBytes: number) {
    // No buffers besides those of the socket. As with the socket, writing is possible after the other side has ended.
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
