/**
 * Job ids: `<UUIDv7 in hex>-<lane>-<model>`, for example `019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm`.
 * Time-ordered, and they name their queue, so any API instance finds a job from its id alone.
 */
import { randomUUIDv7 } from 'node:crypto';

/** How urgent a job is. `normal` is answered first, `low` never starves. */
export type Priority = 'normal' | 'low';

const LETTER: Record<Priority, string> = { normal: 'n', low: 'l' };
const JOB_ID = /^([0-9a-f]{32})-([nl])-([A-Za-z0-9][A-Za-z0-9._-]{0,62})$/;

export interface JobIdParts {
  priority: Priority;
  model: string;
  /** Unix ms. */
  createdAt: number;
}

export function newJobId(priority: Priority, model: string): string {
  return `${randomUUIDv7().replaceAll('-', '')}-${LETTER[priority]}-${model}`;
}

/** What a job id says, or undefined when it is not one. */
export function parseJobId(id: string): JobIdParts | undefined {
  const match = JOB_ID.exec(id);
  if (!match) return undefined;
  const [, uuid, letter, model] = match as unknown as [string, string, string, string];
  return {
    priority: letter === 'l' ? 'low' : 'normal',
    model,
    // The first 48 bits of a version 7 UUID are its Unix time in ms (RFC 9562 §5.7).
    createdAt: Number.parseInt(uuid.slice(0, 12), 16),
  };
}
