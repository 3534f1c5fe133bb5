/** Job body: the JSON of a job, whose bytes are shared by all callers that wait for it. */
import type { Job } from '../../shared/contract/jobs.ts';

/** Bodies of at least this length are shared. */
const MIN_SHARED_CHARS = 16_384;

/** Shared bodies by the results in them. */
const bodies = new WeakMap<object, Uint8Array<ArrayBuffer>>();

/** A job as JSON. Calls with the results of one read share the bytes, which then wait for slow clients only once. */
export function jobBody(job: Job): string | Uint8Array<ArrayBuffer> {
  const known = job.results && bodies.get(job.results);
  if (known) return known;
  const json = JSON.stringify(job);
  if (!job.results || json.length < MIN_SHARED_CHARS) return json;
  const body = new TextEncoder().encode(json);
  bodies.set(job.results, body);
  return body;
}
