/** `Server-Timing`: the `timings_ms` of a finished job as a header that browsers and proxies understand. */
import type { Context } from 'hono';
import type { Job } from '../../shared/contract/jobs.ts';
import type { AppEnv } from '../env.ts';
import { setHeader } from '../middleware/response-headers.ts';

export function setServerTiming(c: Context<AppEnv>, { timings_ms: timings }: Job): void {
  if (!timings) return;
  const { queue, inference, total } = timings;
  setHeader(c, 'Server-Timing', `queue;dur=${queue}, inference;dur=${inference}, total;dur=${total}`);
}
