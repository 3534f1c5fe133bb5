/** A batch as Redis keeps it: the fields of its hash, and a bit per chunk. */
import { batchSpecSchema, batchStatusSchema, type BatchSpec } from '../../contract/batches.ts';
import type { BatchStatus } from '../../contract/states.ts';
import { type Webhook, webhookSchema } from '../../contract/webhooks.ts';

/** A message with a code, as the API shows it. */
export interface BatchProblem {
  code: string;
  message: string;
}

/** Times are Unix ms. */
export interface BatchRecord {
  owner: string;
  status: BatchStatus;
  spec: BatchSpec;
  created: number;
  queued?: number;
  started?: number;
  finished?: number;
  bytes: number;
  parts: number;
  rows: number;
  /** CSV: rows with a quoted field over several lines. */
  multilineRows: number;
  /** Set when the input is complete. */
  chunks: number;
  /** Chunks of the parts so far. Parts that an API of an earlier version added are not counted. */
  partChunks: number;
  /** Name of the manifest, set when the input is complete. */
  manifest?: string;
  /** Number of the first chunk that was never queued. */
  next: number;
  chunksDone: number;
  finishedRows: number;
  failedRows: number;
  /** Rows with a label and with tokens outside the model's vocabulary, and the sum of their shares (SHARE_UNITS). */
  unknownRows: number;
  unknownShares: number;
  revision?: string;
  /** Delays the batch at the moment; the next finished chunk removes it. */
  problem?: BatchProblem & { since: string };
  /** Something in the blob store is damaged; only `resume` removes it. */
  damage?: BatchProblem & { since: string };
  /** Chunks whose results were found damaged. */
  damaged?: number[];
  error?: BatchProblem;
  /** Since `time` the finished rows have grown from `rows`. */
  rateBase?: { time: number; rows: number };
  webhook?: Webhook;
  /** Id of the latest event that was sent. */
  event?: string;
}

/** A batch from the fields of its hash. */
export function parseBatchRecord(fields: Record<string, string>): BatchRecord {
  const number = (name: string) => Number(fields[name] ?? 0);
  const optional = (name: string, key: string) => (fields[name] === undefined ? {} : { [key]: number(name) });
  const json = (name: string) =>
    fields[name] === undefined ? {} : { [name]: JSON.parse(fields[name]) as unknown };
  const base = fields.base_time === undefined ? 'sample' : 'base';
  return {
    owner: fields.owner ?? '',
    status: batchStatusSchema.parse(fields.status),
    spec: batchSpecSchema.parse(JSON.parse(fields.spec ?? '')),
    created: number('created'),
    ...optional('queued', 'queued'),
    ...optional('started', 'started'),
    ...optional('finished', 'finished'),
    bytes: number('bytes'),
    parts: number('parts'),
    rows: number('rows'),
    multilineRows: number('multiline_rows'),
    chunks: number('chunks'),
    partChunks: number('part_chunks'),
    ...(fields.manifest === undefined ? {} : { manifest: fields.manifest }),
    next: number('next'),
    chunksDone: number('chunks_done'),
    finishedRows: number('finished_rows'),
    failedRows: number('failed_rows'),
    unknownRows: number('unknown_rows'),
    unknownShares: number('unknown_shares'),
    ...(fields.revision === undefined ? {} : { revision: fields.revision }),
    ...json('problem'),
    ...json('damage'),
    ...(fields.damaged === undefined ? {} : { damaged: fields.damaged.split(',').map(Number) }),
    ...json('error'),
    ...(fields.webhook === undefined ? {} : { webhook: webhookSchema.parse(JSON.parse(fields.webhook)) }),
    ...(fields.event === undefined ? {} : { event: fields.event }),
    ...(fields.sample_time === undefined
      ? {}
      : { rateBase: { time: number(`${base}_time`), rows: number(`${base}_rows`) } }),
  };
}

/** Whether the bit of a chunk is set. */
export function isDone(bits: Buffer, chunk: number): boolean {
  return ((bits[chunk >> 3] ?? 0) & (0x80 >> (chunk & 7))) !== 0;
}
