import type { Context } from 'hono';
import type { Job } from '../../shared/contract/jobs.ts';

/** `Server-Timing` on the answer about a job that has ended: its `timings_ms`, as browsers and proxies understand them. */
export function setServerTiming(c: Context, { timings_ms: timings }: Job): void {
  if (!timings) return;
  const { queue, inference, total } = timings;
  c.header('Server-Timing', `queue;dur=${queue}, inference;dur=${inference}, total;dur=${total}`);
}
