/** A batch as the API shows it, with its rate. */
import type { Batch } from '../../contract/batches.ts';
import { showWebhook } from '../../contract/events.ts';
import { batchModel } from '../../contract/ids.ts';
import type { BatchRecord } from './batch-record.ts';
import { SHARE_UNITS } from './results.ts';
import { shownTally } from './tally.ts';

/** A rate over a shorter time means nothing. */
const MIN_RATE_MS = 1000;

/**
 * A batch as the API shows it.
 * @param expiresAt Unix ms
 * @param now Unix ms
 */
export function toBatch(
  id: string,
  record: BatchRecord,
  expiresAt: number | undefined,
  now = Date.now(),
): Batch {
  const { spec } = record;
  const time = (ms: number | undefined) => (ms === undefined ? null : new Date(ms).toISOString());
  const rate = record.status === 'processing' ? rowsPerSecond(record, now) : finalRate(record);
  const left = record.rows - record.finishedRows;
  const { labels, errors, ...tallied } = shownTally(record);
  return {
    id,
    status: record.status,
    model: { name: batchModel(id) ?? '', revision: record.revision ?? null },
    created_at: new Date(record.created).toISOString(),
    queued_at: time(record.queued),
    started_at: time(record.started),
    finished_at: time(record.finished),
    expires_at: time(expiresAt),
    input: {
      format: spec.format,
      text_field: spec.text_field,
      id_field: spec.id_field ?? null,
      bytes: record.bytes,
      parts: record.parts,
      ...(spec.format === 'csv' ? { multiline_rows: record.multilineRows } : {}),
    },
    top_k: spec.top_k,
    ...(spec.threshold === undefined ? {} : { threshold: spec.threshold }),
    ...(spec.apply === undefined ? {} : { function_to_apply: spec.apply }),
    rows: {
      total: record.rows,
      finished: record.finishedRows,
      failed: record.failedRows,
      with_unknown: record.unknownRows,
      mean_unknown: record.unknownRows === 0 ? null : meanShare(record.unknownShares, record.unknownRows),
      ...tallied,
    },
    labels,
    errors,
    rows_per_second: rate === undefined ? null : Math.round(rate * 10) / 10,
    eta_s: record.status === 'processing' && rate !== undefined && rate > 0 ? Math.ceil(left / rate) : null,
    // Damage first: it does not pass by itself.
    problem: record.damage ?? record.problem ?? null,
    error: record.error ?? null,
    metadata: spec.metadata ?? null,
    webhook: showWebhook('batch', record.webhook, record.event),
    urls: { self: `/v1/batches/${id}`, results: `/v1/batches/${id}/results` },
  };
}

/** @param sum in SHARE_UNITS @returns rounded as the shares of results are */
function meanShare(sum: number, rows: number): number {
  return Math.round(sum / rows) / SHARE_UNITS;
}

/** Rows per second over the last 5 to 10 seconds, or since the start of a younger batch. */
function rowsPerSecond(record: BatchRecord, now: number): number | undefined {
  const { baseTime, baseRows, sampleTime, sampleRows, started, finishedRows } = record;
  const since = baseTime ?? sampleTime ?? started;
  if (since === undefined || now - since < MIN_RATE_MS) return undefined;
  const before = baseTime === undefined ? sampleRows : baseRows;
  return ((finishedRows - before) * 1000) / (now - since);
}

/** Rows per second over the whole run. */
function finalRate({ started, finished, finishedRows }: BatchRecord): number | undefined {
  if (started === undefined || finished === undefined || finished <= started) return undefined;
  return (finishedRows * 1000) / (finished - started);
}
