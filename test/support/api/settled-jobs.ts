/** Finished jobs with a webhook, made without a model and without the API's check of the URL. */
import { eventId, newGroupId, newJobId } from '../../../src/shared/contract/ids.ts';
import { toRecord, type JobRecords } from '../../../src/shared/store/jobs/job-records.ts';
import { traceOf } from '../../../src/shared/runtime/trace-context.ts';

const RESULT = { label: 'POSITIVE', score: 0.9792585619802988, truncated: false };

/** Fixes the outcome of a new job. @returns its id, and that of the event */
export async function settleJob(
  records: JobRecords,
  url: string,
  owner = 'everybody',
): Promise<{ job: string; event: string }> {
  const job = newJobId(newGroupId('normal', 'model'));
  const now = Date.now();
  const payload = {
    owner,
    texts: [{ text: 'x' }],
    top_k: 1,
    created_at: now,
    webhook: { url, trace: traceOf(undefined) },
  };
  await records.settle(
    job,
    toRecord(payload, {
      status: 'succeeded',
      started: now,
      finished: now,
      revision: 'revision',
      results: [RESULT],
    }),
  );
  return { job, event: eventId(job, now) };
}
