/** Serialises a job as the body of a response. */
import type { Job } from '../../shared/contract/jobs.ts';

/** From so many characters on, the answers to all who wait for a job are one body. */
const MIN_SHARED_CHARS = 16_384;

/** Bodies by the results that they tell of. */
const bodies = new WeakMap<object, Uint8Array<ArrayBuffer>>();

/** A job as JSON. Calls with the results of one read share the bytes of a large one, which wait for slow clients once, not for each. */
export function jobBody(job: Job): string | Uint8Array<ArrayBuffer> {
  const known = job.results && bodies.get(job.results);
  if (known) return known;
  const json = JSON.stringify(job);
  if (!job.results || json.length < MIN_SHARED_CHARS) return json;
  const body = new TextEncoder().encode(json);
  bodies.set(job.results, body);
  return body;
}
