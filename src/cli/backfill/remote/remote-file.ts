/**
 * A file on a server, read as a stream or in ranges. A lost connection goes on at the byte where it was, as long as the server
 * still has the same version of the file.
 */
import { Readable } from 'node:stream';
import { ApiError, ConnectionError, isTemporary } from '../../../client/errors.ts';
import { GaveUpError, Retrier, type Retrying } from '../../../client/retry.ts';
import { peek } from '../../../shared/bulk/byte-stream.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import { ChangedInputError, CliError, EXIT, UnreadableInputError, UsageError } from '../../terminal/exit.ts';
import { bytes as size, duration, elapsedSince } from '../../terminal/units.ts';

/** By these a changed file is noticed. */
export interface Version {
  etag: string | undefined;
  /** Unix ms. */
  modifiedMs: number | undefined;
}

/** The body of an empty file. */
export const noBytes = (): AsyncIterable<Uint8Array> => Readable.from([]);

/** Answer to the request of a range. */
export interface Answer {
  /** The server sends ranges; otherwise the body is the whole file. */
  ranged: boolean;
  /** Offset of the body's first byte. */
  from: number;
  /** Of the whole file; undefined where the server does not say. */
  size: number | undefined;
  version: Version;
  /** The server has compressed the file with gzip, which its name does not show. */
  gzip: boolean;
  body: AsyncIterable<Uint8Array>;
  /** Closes the connection, whose body is not read any further. */
  close: () => void;
}

export interface ByteRange {
  start: number;
  /** After the last byte; undefined: to the end of the file. */
  end: number | undefined;
}

/** Requests of one file. */
export interface RemoteRequests {
  /** The address, for messages. */
  name: string;
  /**
   * @param version that the file must have
   * @throws ConnectionError and ApiError, which may be temporary; Refusal; ChangedInputError
   */
  get: (range: ByteRange, version: Version | undefined, signal: AbortSignal) => Promise<Answer>;
}

/** The server does not give out the file. The message is for the user, with the cure. */
export class Refusal extends Error {
  override name = 'Refusal';
}

export interface RemoteOptions {
  /** Ends the reading with its reason. */
  signal: AbortSignal;
  /** How long to retry without receiving a byte, in ms. */
  retryTimeoutMs: number;
}

/** Also enough to find out what the file is. */
const HEAD_BYTES = 64 * 1024;
/** A wrong address is reported after so long: nothing has been done yet that would be worth waiting for. */
const OPEN_TIMEOUT_MS = 5000;

export class RemoteFile {
  readonly name: string;
  /** Stored bytes; undefined where the server does not say. */
  readonly size: number | undefined;
  readonly version: Version;
  readonly gzip: boolean;
  /** The server sends ranges. */
  readonly ranged: boolean;
  /** Its first 64 KB. */
  readonly head: Uint8Array;
  readonly #requests: RemoteRequests;
  readonly #retrier: Retrier;
  readonly #retryTimeoutMs: number;
  /** The whole file, from a server that does not send ranges. */
  readonly #whole: AsyncIterable<Uint8Array> | undefined;
  readonly close: () => void;
  #retrying: Retrying | undefined;

  private constructor(requests: RemoteRequests, { answer, head, whole }: First, options: RemoteOptions) {
    this.name = requests.name;
    ({ size: this.size, version: this.version, gzip: this.gzip, ranged: this.ranged } = answer);
    this.head = head;
    this.#requests = requests;
    this.#whole = whole;
    this.close = answer.close;
    this.#retryTimeoutMs = options.retryTimeoutMs;
    this.#retrier = new Retrier({ ...options, onRetry: (retrying) => (this.#retrying = retrying) });
  }

  /** Reads the beginning of the file. @throws CliError, or the signal's reason */
  static async open(requests: RemoteRequests, options: RemoteOptions): Promise<RemoteFile> {
    const first = await atOpening(requests.name, options, () => readHead(requests, options.signal));
    return new RemoteFile(requests, first, options);
  }

  /** Why nothing arrives at the moment; undefined while something does. */
  delay(): string | undefined {
    const retrying = this.#retrying;
    return retrying && `${retrying.reason} for ${elapsedSince(retrying.since)}; retrying`;
  }

  /**
   * The stored bytes. May be called again only if the server sends ranges.
   * @throws UnreadableInputError, ChangedInputError, or the signal's reason
   */
  async *read(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#whole) {
      yield* this.#readOnce(this.#whole);
      return;
    }
    let at = this.head.length;
    if (at > 0) yield this.head;
    while (this.size === undefined || at < this.size) {
      const body = await this.#retry(() => this.#from(at, undefined, signal), signal);
      try {
        for await (const piece of body) {
          at += piece.length;
          this.#retrier.succeeded();
          yield piece;
        }
        // Without a size, the end of the answer is the end of the file.
        if (this.size === undefined) return;
      } catch (error) {
        signal.throwIfAborted();
        if (!isTemporary(error)) throw this.#unreadable(error);
      }
    }
  }

  /** Reads a range; fewer bytes where the file ends. @throws the errors of read() */
  async slice(start: number, end: number, signal: AbortSignal): Promise<Uint8Array> {
    const stop = Math.min(end, this.size ?? end);
    if (stop <= this.head.length) return this.head.subarray(start, Math.max(start, stop));
    if (stop <= start) return new Uint8Array();
    const range = Buffer.allocUnsafeSlow(stop - start);
    let used = 0;
    await this.#retry(async () => {
      // To its end, so that the connection can be used again.
      for await (const piece of await this.#from(start + used, stop, signal)) {
        if (piece.length > range.length - used)
          throw new Refusal(`${this.name}: the server sent more than was requested`);
        range.set(piece, used);
        used += piece.length;
        this.#retrier.succeeded();
      }
      if (used < range.length) throw connectionLost();
    }, signal);
    return range;
  }

  /** Opens a range; the first byte has arrived. */
  async #from(
    start: number,
    end: number | undefined,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const answer = await this.#requests.get({ start, end }, this.version, signal);
    try {
      const change = changeOf(this, answer);
      if (change !== undefined) throw new ChangedInputError(`${this.name} ${change}`);
      if (!answer.ranged) throw new Refusal(`${this.name}: the server has stopped sending ranges`);
      if (answer.from !== start)
        throw new Refusal(`${this.name}: the server sent another range than requested`);
      const { head, stream } = await peek(answer.body, 1);
      if (head.length === 0 && this.size !== undefined) throw connectionLost();
      return stream;
    } catch (error) {
      answer.close();
      throw error;
    }
  }

  async *#readOnce(whole: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    let read = 0;
    try {
      for await (const piece of whole) {
        read += piece.length;
        yield piece;
      }
    } catch (error) {
      if (!isTemporary(error)) throw this.#unreadable(error);
      throw new UnreadableInputError(
        `${this.name}: ${toError(error).message} after ${size(read)}, and the server cannot send the rest alone (it knows no ranges): download the file, and name the copy`,
        { cause: error },
      );
    }
  }

  async #retry<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      return await this.#retrier.run(attempt, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw this.#unreadable(error);
    }
  }

  #unreadable(error: unknown): unknown {
    const { message } = toError(error);
    if (error instanceof Refusal) return new UnreadableInputError(message, { cause: error });
    if (error instanceof GaveUpError) {
      const after = duration(this.#retryTimeoutMs / 1000);
      const reason = `${this.name} cannot be read: gave up after ${after} without success: ${message}`;
      return new UnreadableInputError(reason, { cause: error });
    }
    if (!isExchangeError(error)) return error;
    return new UnreadableInputError(`${this.name} cannot be read: ${message}`, { cause: error });
  }
}

/** Retries a request before the run, for a short time. @throws CliError, or the signal's reason */
export async function atOpening<T>(
  name: string,
  { signal, retryTimeoutMs }: RemoteOptions,
  request: () => Promise<T>,
): Promise<T> {
  const retrier = new Retrier({ retryTimeoutMs: Math.min(retryTimeoutMs, OPEN_TIMEOUT_MS), signal });
  try {
    return await retrier.run(request);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Refusal) throw new UsageError(error.message);
    const message = `${name} cannot be read: ${toError(error).message}`;
    if (error instanceof GaveUpError) throw new CliError(EXIT.temporary, message, [], error);
    throw isExchangeError(error) ? new UsageError(message) : error;
  }
}

interface First {
  answer: Answer;
  head: Uint8Array;
  whole: AsyncIterable<Uint8Array> | undefined;
}

async function readHead(requests: RemoteRequests, signal: AbortSignal): Promise<First> {
  const answer = await requests.get({ start: 0, end: HEAD_BYTES }, undefined, signal);
  const { head, stream } = await peek(answer.body, HEAD_BYTES);
  if (!answer.ranged) return { answer, head, whole: stream };
  // To its end, so that the connection can be used again.
  let read = 0;
  for await (const piece of stream) {
    read += piece.length;
    if (read > head.length) break;
  }
  answer.close();
  if (head.length < Math.min(HEAD_BYTES, answer.size ?? 1)) throw connectionLost();
  // A copy: a short piece may keep a large buffer alive.
  return { answer, head: Uint8Array.from(head.subarray(0, HEAD_BYTES)), whole: undefined };
}

/** @returns what has changed; undefined for the same version, as far as the server says */
function changeOf(before: { size: number | undefined; version: Version }, now: Answer): string | undefined {
  const { etag, modifiedMs } = before.version;
  const changed = 'has changed while it was read';
  if (etag !== undefined && now.version.etag !== undefined) {
    if (etag !== now.version.etag) return `${changed}: its ETag was ${etag} and is ${now.version.etag}`;
  } else if (modifiedMs !== undefined && now.version.modifiedMs !== undefined) {
    if (modifiedMs !== now.version.modifiedMs)
      return `${changed}: it was modified ${new Date(now.version.modifiedMs).toISOString()}`;
  }
  if (before.size === undefined || now.size === undefined || before.size === now.size) return undefined;
  return `${changed}: it had ${before.size} bytes and has ${now.size}`;
}

const connectionLost = () => new ConnectionError('ECONNRESET', 'connection lost');

const isExchangeError = (error: unknown): boolean =>
  error instanceof ApiError || error instanceof ConnectionError;
