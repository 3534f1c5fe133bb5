/**
 * Incoming pieces: the body of a request as it arrives, joined into pieces that are large enough for the work that each costs.
 *
 * Node's own iterator gives one piece per HTTP chunk, and everything behind it (gzip, hash, scanner, generators, timers) has a cost
 * per piece: 1-byte chunks took 16 s of CPU a MB. The remaining cost is Node's HTTP parser, which calls JavaScript for each chunk.
 */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

/** With this much waiting, reading pauses. */
const PIECE_BYTES = 64 * 1024;
/** A smaller piece first waits JOIN_MS for more: a packet may have a single byte. */
const SMALL_BYTES = 4 * 1024;
const JOIN_MS = 5;

/**
 * A caller that stops early leaves the rest unread and the connection open: the server's adapter then reads to the end of the body, or
 * closes the connection if that is far away. An unread rest would block the next request.
 * @throws the connection's error when the connection breaks
 */
export async function* incomingPieces(incoming: IncomingMessage): AsyncGenerator<Buffer, void, undefined> {
  let pieces: Buffer[] = [];
  let bytes = 0;
  let ended = incoming.readableEnded;
  let failure = incoming.destroyed ? brokenOff(incoming) : undefined;
  let wake = () => {};
  const onData = (piece: Buffer) => {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes >= PIECE_BYTES) incoming.pause();
    wake();
  };
  const onEnd = () => {
    ended = true;
    wake();
  };
  const onClose = () => {
    if (!ended) failure ??= brokenOff(incoming);
    wake();
  };
  incoming.on('data', onData).once('end', onEnd).once('error', onClose).once('close', onClose);
  try {
    for (;;) {
      if (bytes === 0 && !ended && !failure) await new Promise<void>((resolve) => (wake = resolve));
      if (bytes < SMALL_BYTES && !incoming.complete && !failure) await sleep(JOIN_MS);
      if (failure) throw failure;
      if (bytes > 0) {
        const piece = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
        pieces = [];
        bytes = 0;
        incoming.resume();
        yield piece;
      } else if (ended) return;
    }
  } finally {
    incoming.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose);
    if (!ended) incoming.pause();
  }
}

const brokenOff = (incoming: IncomingMessage): Error =>
  incoming.errored ?? new Error('the connection was closed');
