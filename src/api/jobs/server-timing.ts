/** `Server-Timing`: the `timings_ms` of a finished job as a header that browsers and proxies understand. */
import type { Context } from 'hono';
import type { Job } from '../../shared/contract/jobs.ts';

export function setServerTiming(c: Context, { timings_ms: timings }: Job): void {
  if (!timings) return;
  const { queue, inference, total } = timings;
  c.header('Server-Timing', `queue;dur=${queue}, inference;dur=${inference}, total;dur=${total}`);
}
