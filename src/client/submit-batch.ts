/** Uploads an input of any size to the API in parts, and retries each part if necessary. */
import { BatchClient, type BatchOptions, type FileOptions } from './batches.ts';
import { openInput, type BatchInput } from './batch-input.ts';
import { cutParts, MAX_RECORD_BYTES } from './batch-parts.ts';
import { newKey } from './key.ts';
import type { Server } from './server.ts';
import { orAborted } from './signals.ts';
import { takeHeader } from '../shared/bulk/take-header.ts';
import { defaultQuote, scannedDelimiter } from '../shared/contract/quoting.ts';
import type { ApplyFunction, Batch, BatchEventType, Threshold } from './types.ts';

/** Options of a batch, described in docs/bulk.md; the server has defaults for those left out. */
export interface BatchSubmitOptions extends FileOptions {
  /** How many labels per text; null: all. Default 1; with a `threshold`, all that reach it. */
  top_k?: number | null | undefined;
  /** The least score of the labels that are returned, possibly none. */
  threshold?: Threshold | undefined;
  /** Default: the model's own. */
  function_to_apply?: ApplyFunction | undefined;
  model?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  webhook?: { url: string; events?: readonly BatchEventType[] | undefined } | undefined;
  /**
   * Your own key, so that the same call, repeated after a crash, continues the same batch. Without a key, a batch whose upload
   * fails is removed.
   */
  idempotencyKey?: string | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * @returns the batch, with its input complete
 * @throws RangeError for an input without records; AmuletError; errors of the input
 */
export async function submitBatch(
  server: Server,
  input: BatchInput,
  { idempotencyKey, signal, ...options }: BatchSubmitOptions,
): Promise<Batch> {
  const prepared = prepare(input, options);
  const { query, parts } = await orAborted(prepared, signal).catch((error: unknown) => {
    // The preparation may still be waiting for the first bytes of the input.
    void prepared.then(({ close }) => close()).catch(() => {});
    throw error;
  });
  try {
    const first = await orAborted(parts.next(), signal);
    if (first.done === true) throw new RangeError('the input has no records');
    const attempt = server.attempts(signal);
    const api = new BatchClient(server.http);
    const batch = await attempt(() => api.create(query, idempotencyKey ?? newKey(), signal));
    // An earlier call with this key completed the upload before it failed.
    if (batch.status !== 'open') return batch;
    try {
      const uploaded: { number: number; sha256: string }[] = [];
      let next: IteratorResult<Uint8Array, void> = first;
      while (next.done !== true) {
        const number = uploaded.length + 1;
        const upload = { body: next.value, gzip: false };
        const { sha256 } = await attempt(() => api.putPart(batch.id, number, upload, signal));
        uploaded.push({ number, sha256 });
        next = await orAborted(parts.next(), signal);
      }
      return await attempt(() => api.complete(batch.id, uploaded, signal));
    } catch (error) {
      if (idempotencyKey === undefined) {
        const removed = api.delete(batch.id).catch(() => {});
        // After an abort the caller does not wait for the removal.
        if (signal?.aborted !== true) await removed;
      }
      throw error;
    }
  } finally {
    // The signal also ends this: a stalled input cannot be closed.
    await orAborted(parts.return(), signal);
  }
}

interface Prepared {
  query: BatchOptions;
  parts: AsyncGenerator<Uint8Array, void, undefined>;
  close: () => Promise<unknown>;
}

async function prepare(
  input: BatchInput,
  options: Omit<BatchSubmitOptions, 'idempotencyKey' | 'signal'>,
): Promise<Prepared> {
  const { top_k: topK, threshold, metadata, webhook, ...rest } = options;
  const given = {
    ...rest,
    top_k: topK === null ? 'all' : topK?.toString(),
    threshold: typeof threshold === 'string' ? threshold : JSON.stringify(threshold),
    metadata: metadata && JSON.stringify(metadata),
    webhook: webhook?.url,
    webhook_events: webhook?.events?.join(','),
  };
  const opened = await openInput(input);
  const { bytes, close } = opened;
  try {
    const format = options.format ?? opened.format ?? 'ndjson';
    if (format !== 'csv') return { query: { ...given, format }, parts: cutParts(bytes, undefined), close };
    const delimiter = options.delimiter ?? opened.delimiter ?? ',';
    const quote = options.quote ?? defaultQuote(delimiter);
    const query = { ...given, format, delimiter, ...(quote === '"' ? {} : { quote }) };
    const scanned = scannedDelimiter(delimiter, quote);
    if (options.columns !== undefined) return { query, parts: cutParts(bytes, scanned), close };
    const taken = await takeHeader(bytes, {
      delimiter: scanned,
      maxBytes: MAX_RECORD_BYTES,
      tooLong: () => new RangeError('the header of the CSV does not end'),
    });
    if (!taken) throw new RangeError('the CSV has no header');
    const { header, firstLine, rest: records } = taken;
    const columns = new TextDecoder().decode(header);
    const parts = cutParts(records, scanned);
    return { query: { ...query, columns, first_line: firstLine }, parts, close };
  } catch (error) {
    await close();
    throw error;
  }
}
