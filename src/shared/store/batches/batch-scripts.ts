/** The scripts that change a batch as a whole (batch-store.ts). */
import { z } from 'zod';
import { batchStatusSchema } from '../../contract/batches.ts';
import type { BatchStatus } from '../../contract/states.ts';
import { defineScript, isOne, noReply } from '../../redis/scripts.ts';

export type CompleteOutcome =
  { outcome: 'queued' | 'changed' } | { outcome: 'ended'; status: BatchStatus | undefined };

/** Reply of a script to a batch that is no longer open, or does not exist. */
export const endedReply = z
  .tuple([z.literal('ended'), batchStatusSchema.nullable()])
  .transform(([outcome, status]) => ({ outcome, status: status ?? undefined }));

export const CREATE = defineScript(
  new URL('./create.lua', import.meta.url),
  z.enum(['created', 'unreserved', 'open', 'kept']),
);

export const COMPLETE = defineScript(
  new URL('./complete.lua', import.meta.url),
  z.union([endedReply, z.tuple([z.enum(['queued', 'changed'])]).transform(([outcome]) => ({ outcome }))]),
);

export const END = defineScript(new URL('./end.lua', import.meta.url), isOne);

export const RESUME = defineScript(new URL('./resume.lua', import.meta.url), isOne);

export const REMOVE = defineScript(new URL('./remove.lua', import.meta.url), isOne);

export const REPORT_PROBLEM = defineScript(new URL('./report-problem.lua', import.meta.url), noReply);

export const REPORT_DAMAGE = defineScript(new URL('./report-damage.lua', import.meta.url), noReply);
