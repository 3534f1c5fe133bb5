/** Uploads the parts of an input to an open batch, a few at a time, and skips parts that the server has. */
import { hash } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { ApiError } from '../../../client/errors.ts';
import type { BatchClient } from '../../../client/batches.ts';
import type { Retrier } from '../../../client/retry.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import type { BatchPart } from '../../../shared/contract/batches.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { LineRange, MultilineRows, Part } from './parts.ts';

/** Level 6, the default, takes twice the CPU for 5 % less. */
const GZIP_LEVEL = 3;

export interface UploadTarget {
  /** Holds the buffers of the parts; its size limits how many are in flight. */
  pool: BufferPool;
  client: BatchClient;
  retrier: Retrier;
  /** Id of the open batch. */
  batch: string;
  /** Parts uploaded by an earlier run. */
  present: readonly BatchPart[];
  /** Compress parts for the network. */
  gzip: boolean;
  signal: AbortSignal;
  /** Aborted when an upload fails, which ends the other uploads and, through `signal`, the reading. */
  stop: AbortController;
}

export interface Uploaded {
  parts: { number: number; sha256: string }[];
  rows: number;
  /** Rows with a quoted field that spans several lines. */
  multiline: MultilineRows | undefined;
  /** Lines of a quoted field that is not closed. */
  unclosed: LineRange | undefined;
}

/** The input differs from the parts that were uploaded before. */
export class OtherInputError extends Error {
  override name = 'OtherInputError';
}

/**
 * @param parts in order
 * @param onSent called with the fraction of a part that has been sent
 */
export async function uploadParts(
  parts: AsyncIterable<Part>,
  target: UploadTarget,
  onSent: (part: number, fraction: number) => void,
): Promise<Uploaded> {
  const present = new Map(target.present.map(({ number, sha256 }) => [number, sha256]));
  const { pool, stop } = target;
  const uploads: Promise<void>[] = [];
  const uploaded: Uploaded = { parts: [], rows: 0, multiline: undefined, unclosed: undefined };

  const upload = async (part: Part): Promise<void> => {
    const sha256 = hash('sha256', part.bytes);
    uploaded.parts.push({ number: part.number, sha256 });
    uploaded.rows += part.rows;
    uploaded.unclosed ??= part.unclosed;
    if (part.multiline) {
      uploaded.multiline ??= { rows: 0, first: part.multiline.first };
      uploaded.multiline.rows += part.multiline.rows;
    }
    const there = present.get(part.number);
    present.delete(part.number);
    if (there !== undefined && there !== sha256) throw new OtherInputError(`part ${part.number} differs`);
    if (there === undefined) await put(part, target, (fraction) => onSent(part.number, fraction));
    onSent(part.number, 1);
  };

  try {
    for await (const part of parts) {
      const ended = upload(part).finally(part.release);
      ended.catch((error: unknown) => {
        stop.abort(error);
        pool.close(toError(error));
      });
      uploads.push(ended);
      stop.signal.throwIfAborted();
    }
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(uploads);
    throw stop.signal.reason;
  }
  await Promise.all(uploads);
  if (present.size > 0) throw new OtherInputError(`it has fewer than ${target.present.length} parts`);
  return uploaded;
}

async function put(part: Part, target: UploadTarget, onSent: (fraction: number) => void): Promise<void> {
  const { client, retrier, batch, signal } = target;
  const body = target.gzip ? await promisify(gzip)(part.bytes, { level: GZIP_LEVEL }) : part.bytes;
  try {
    const upload = { body, gzip: target.gzip, onSent: (bytes: number) => onSent(bytes / body.length) };
    await retrier.run(() => client.putPart(batch, part.number, upload, signal), signal);
  } catch (error) {
    const conflict = error instanceof ApiError && error.code === 'part_conflict';
    throw conflict ? new OtherInputError(`part ${part.number} differs`) : error;
  }
}
