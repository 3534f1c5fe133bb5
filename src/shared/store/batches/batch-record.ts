/** A batch as Redis keeps it: the fields of its hash, and a bit per chunk. */
import { z } from 'zod';
import { batchSpecSchema, batchStatusSchema } from '../../contract/batches.ts';
import { camelCase } from '../../redis/scripts.ts';
import { webhookSchema } from '../../contract/webhooks.ts';

/** A message with a code, as the API shows it. */
export interface BatchProblem {
  code: string;
  message: string;
}

type ReportedProblem = BatchProblem & { since: string };

const count = z.coerce.number().default(0);
const time = z.coerce.number().optional();
const json = z.string().transform((text) => JSON.parse(text) as unknown);

/** The fields of the hash, in camel case. Times are Unix ms. */
const batchRecordSchema = z.object({
  owner: z.string().default(''),
  status: batchStatusSchema,
  spec: json.pipe(batchSpecSchema),
  created: count,
  queued: time,
  started: time,
  finished: time,
  bytes: count,
  parts: count,
  rows: count,
  /** CSV: rows with a quoted field over several lines. */
  multilineRows: count,
  /** Set when the input is complete. */
  chunks: count,
  /** Chunks of the parts so far. Parts that an API of an earlier version added are not counted. */
  partChunks: count,
  /** Name of the manifest, set when the input is complete. */
  manifest: z.string().optional(),
  /** Number of the first chunk that was never queued. */
  next: count,
  chunksDone: count,
  finishedRows: count,
  failedRows: count,
  /** Rows with a label and with tokens that the model cannot read, and the sum of their shares (SHARE_UNITS). */
  unknownRows: count,
  unknownShares: count,
  /** Finished rows that are counted by label and by error code (tally.lua). */
  countedRows: count,
  labels: z.array(z.tuple([z.string(), z.number()])),
  errors: z.array(z.tuple([z.string(), z.number()])),
  otherLabels: count,
  truncatedRows: count,
  scoreSum: count,
  revision: z.string().optional(),
  /** Delays the batch at the moment; the next finished chunk removes it. */
  problem: json.pipe(z.custom<ReportedProblem>()).optional(),
  /** Something in the blob store is damaged; only `resume` removes it. */
  damage: json.pipe(z.custom<ReportedProblem>()).optional(),
  /** Chunks whose results were found damaged. */
  damaged: z
    .string()
    .transform((chunks) => chunks.split(',').map(Number))
    .optional(),
  error: json.pipe(z.custom<BatchProblem>()).optional(),
  webhook: json.pipe(webhookSchema).optional(),
  /** Id of the latest event that was sent. */
  event: z.string().optional(),
  /** Two samples of the finished rows, of which the base is the older one (finish-chunk.lua). */
  baseTime: time,
  baseRows: count,
  sampleTime: time,
  sampleRows: count,
});
export type BatchRecord = z.output<typeof batchRecordSchema>;

/** A batch from the fields of its hash. */
export function parseBatchRecord(fields: Record<string, string>): BatchRecord {
  const entries = Object.entries(fields);
  const named = entries.map(([name, value]) => [camelCase(name), value]);
  const countsOf = (prefix: string) =>
    entries.flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), Number(value)]] : [],
    );
  return batchRecordSchema.parse({
    ...Object.fromEntries(named),
    labels: countsOf('label:'),
    errors: countsOf('error:'),
  });
}

/** Whether the bit of a chunk is set. */
export function isDone(bits: Buffer, chunk: number): boolean {
  return ((bits[chunk >> 3] ?? 0) & (0x80 >> (chunk & 7))) !== 0;
}
