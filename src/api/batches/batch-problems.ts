/** Refusals that several requests about batches share: unknown batches, closed ones, and the limits on size and number. */
import { batchModel, shownId } from '../../shared/contract/ids.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { BatchStatus } from '../../shared/contract/states.ts';
import type { Config } from '../../shared/runtime/config.ts';
import type { BatchLimits } from '../../shared/store/batches/batch-store.ts';
import type { LimitReached } from '../../shared/store/batches/reservations.ts';
import { CHUNK_ROWS } from './store-part.ts';

export function notFound(id: string): AppError {
  const why =
    batchModel(id) === undefined
      ? 'the id of a batch looks like 019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sentiment-multilingual'
      : 'finished batches are kept for a limited time';
  return new AppError('batch_not_found', `there is no batch ${shownId(id)}; ${why}`);
}

export function notOpen(id: string, status: BatchStatus): AppError {
  return new AppError('batch_not_open', `the batch ${id} is ${status} and takes no more parts`);
}

export function limitReached(reached: LimitReached, { MAX_BATCH_BYTES, MAX_STORED_BYTES }: Config): AppError {
  switch (reached) {
    case 'too_large':
      return new AppError(
        'body_too_large',
        `a batch may have at most ${MAX_BATCH_BYTES} bytes, uncompressed`,
      );
    case 'busy':
      return new AppError(
        'quota_reached',
        `a batch may have at most ${MAX_BATCH_BYTES} bytes, uncompressed, and other uploads to it have reserved the rest; try again when they have ended`,
        { retryAfterS: 10 },
      );
    case 'quota':
      return new AppError(
        'quota_reached',
        `all batches and current uploads together may have at most ${MAX_STORED_BYTES} bytes; delete finished batches, or wait until they expire`,
        { retryAfterS: 60 },
      );
  }
}

const LIST_OPEN = 'GET /v1/batches?status=open lists them, DELETE /v1/batches/{id} cancels one';

export function tooManyBatches(
  reached: keyof BatchLimits,
  { MAX_OPEN_BATCHES, MAX_KEPT_BATCHES }: Config,
): AppError {
  const detail =
    reached === 'open'
      ? `a key may have at most ${MAX_OPEN_BATCHES} open batches; complete or cancel some (${LIST_OPEN}), or wait until they expire`
      : `a key may have at most ${MAX_KEPT_BATCHES} batches; remove finished ones with DELETE /v1/batches/{id}, or wait until they expire`;
  return new AppError('quota_reached', detail, { retryAfterS: 60 });
}

export function tooManyParts({ MAX_OPEN_PARTS }: Config): AppError {
  return new AppError(
    'quota_reached',
    `the open batches of a key may have at most ${MAX_OPEN_PARTS} parts together; complete or cancel some (${LIST_OPEN}), or send larger parts`,
    { retryAfterS: 60 },
  );
}

export function tooManyChunks({ MAX_BATCH_CHUNKS }: Config): AppError {
  return new AppError(
    'body_too_large',
    `a batch may have at most ${MAX_BATCH_CHUNKS} chunks (MAX_BATCH_CHUNKS) of up to ${CHUNK_ROWS} records; submit the input as several batches, or have MAX_BATCH_CHUNKS or BULK_CHUNK_BYTES raised`,
  );
}
