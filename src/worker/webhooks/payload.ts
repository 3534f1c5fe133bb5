/** Renders the body of a webhook: an event around the job or batch as the API shows it, small enough to be pushed. */
import { z } from 'zod';
import { parseBatchRecord } from '../../shared/store/batches/batch-record.ts';
import { toBatch } from '../../shared/store/batches/batch-view.ts';
import { isBatchEvent } from '../../shared/contract/webhooks.ts';
import { jobRecordSchema } from '../../shared/contract/jobs.ts';
import type { WebhookEvent } from '../../shared/contract/webhook-events.ts';
import { toJob } from '../../shared/store/jobs/job-records.ts';
import type { DeliveryRecord } from '../../shared/store/deliveries/delivery-record.ts';
import { MAX_EVENT_BYTES } from '../../shared/contract/events.ts';

/** The snapshot of a job (job-records.ts): its record, or the record without results and with the number of failed texts. */
const jobSnapshotSchema = jobRecordSchema.extend({ failed: z.int().optional() });
/** The snapshot of a batch (push-batch-event.lua): names and values of the fields of its hash. */
const batchSnapshotSchema = z.array(z.string());

export interface PayloadOptions {
  /** Public URL of the API. */
  publicUrl: string;
  /** How long a finished batch is kept. */
  batchTtlMs: number;
}

/** The body of a delivery, from the snapshot that was stored with its event. */
export function renderBody(
  { type, source, created, snapshot }: DeliveryRecord,
  { publicUrl, batchTtlMs }: PayloadOptions,
): string {
  const timestamp = new Date(created).toISOString();
  const parsed: unknown = JSON.parse(snapshot ?? 'null');
  const write = (event: WebhookEvent) => JSON.stringify(event);
  const absolute = <T extends { urls: Record<string, string> }>(shown: T): T => ({
    ...shown,
    urls: Object.fromEntries(Object.entries(shown.urls).map(([name, path]) => [name, `${publicUrl}${path}`])),
  });

  if (isBatchEvent(type)) {
    const fields = batchSnapshotSchema.parse(parsed);
    const record = parseBatchRecord(
      Object.fromEntries(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1] ?? '']] : []))),
    );
    const { webhook: _, ...data } = absolute(toBatch(source, record, created + batchTtlMs));
    return write({ type, timestamp, thin: false, data });
  }
  const { failed, ...record } = jobSnapshotSchema.parse(parsed);
  const { webhook: _, results, failed_texts, ...job } = absolute(toJob(source, record));
  const full = write({ type, timestamp, thin: false, data: { ...job, failed_texts, results } });
  if (failed === undefined && Buffer.byteLength(full) <= MAX_EVENT_BYTES) return full;
  return write({ type, timestamp, thin: true, data: { ...job, failed_texts: failed ?? failed_texts } });
}

/** Whether a receiver has to fetch the results: those of a batch, and those that are too large to be pushed. */
export function pointsToSource({ type, body }: DeliveryRecord): boolean {
  return isBatchEvent(type) || (JSON.parse(body ?? '{}') as Partial<WebhookEvent>).thin === true;
}

/** Whether the retention of the source may have been extended for this delivery (JobRecords); for most it is not. */
export function isLarge(record: DeliveryRecord): boolean {
  return Buffer.byteLength(record.body ?? '') > MAX_EVENT_BYTES / 4 || pointsToSource(record);
}
