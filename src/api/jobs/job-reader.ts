/** Reads a job as it is now, from its record or else from its BullMQ queue, and shows it as callers see it. Writes nothing. */
import { showWebhook } from '../../shared/contract/events.ts';
import { parseJobId } from '../../shared/contract/ids.ts';
import { isoTime } from '../../shared/contract/iso-time.ts';
import { jobGroupSchema, type Job, type JobRecord } from '../../shared/contract/jobs.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { JobStatus } from '../../shared/contract/states.ts';
import { redisTime } from '../../shared/redis/time.ts';
import { selfUrl, toJob, type Outcome } from '../../shared/store/jobs/job-records.ts';
import type { NewPayload } from './group-commit.ts';
import { SharedReads } from './shared-reads.ts';
import type { Deps } from '../deps.ts';

export type JobEnd = Pick<Outcome, 'status' | 'error'>;

/** A job that has no record yet. */
export interface UnfinishedJob {
  status: JobStatus;
  payload: NewPayload;
  /** Unix ms; null while it waits. */
  startedAt: number | null;
  /** No worker will finish it: its deadline has passed, or its queue gave it up. This is how it has to be settled. */
  settleAs?: JobEnd;
}

/** `deleted` while it is known that there was such a job, undefined afterwards. */
export type FoundJob = JobRecord | UnfinishedJob | 'deleted' | undefined;

export type JobReaderDeps = Deps<'redis' | 'records' | 'queues' | 'backlog' | 'catalog'>;

const EXPIRED = { code: 'job_expired', message: 'the job was not started within expires_in' };

export class JobReader {
  readonly #deps: JobReaderDeps;
  readonly #reads = new SharedReads((id) => this.#read(id));

  constructor(deps: JobReaderDeps) {
    this.#deps = deps;
  }

  read(id: string): Promise<FoundJob> {
    return this.#reads.read(id);
  }

  async #read(id: string): Promise<FoundJob> {
    const { records, queues } = this.#deps;
    const parsed = parseJobId(id);
    if (!parsed) return undefined;
    const [record] = await records.read([id]);
    if (record) return record;
    // Ids come from callers: only models that exist get a queue object.
    if (!(await this.#isKnownModel(parsed.model))) return undefined;
    const queue = await queues.get(parsed.priority, parsed.model);
    const job = await queue.getJob(parsed.group);
    const payload = jobGroupSchema.safeParse(job?.data).data?.jobs.find((member) => member.id === id);
    const state = job && payload ? await job.getState() : 'unknown';
    if (!job || !payload || state === 'unknown' || state === 'completed') {
      // A worker may have settled it and removed it from the queue since the first read.
      return (await records.read([id]))[0];
    }
    const unfinished: UnfinishedJob =
      state === 'active'
        ? { status: 'processing', payload, startedAt: job.processedOn ?? null }
        : { status: 'queued', payload, startedAt: null };
    if (state === 'failed') {
      const error = { code: 'internal_error', message: job.failedReason };
      return { ...unfinished, settleAs: { status: 'failed', error } };
    }
    const deadline = job.processedOn === undefined ? payload.expires_at : undefined;
    if (deadline !== undefined && deadline < (await redisTime(this.#deps.redis)))
      return { ...unfinished, settleAs: { status: 'expired', error: EXPIRED } };
    return unfinished;
  }

  async #isKnownModel(name: string): Promise<boolean> {
    try {
      await this.#deps.catalog.resolve(name);
      return true;
    } catch (error) {
      if (error instanceof AppError && error.code === 'model_not_found') return false;
      throw error;
    }
  }

  async show(id: string, found: JobRecord | UnfinishedJob): Promise<Job> {
    if ('v' in found) return toJob(id, found);
    const { backlog, catalog } = this.#deps;
    const workers = await catalog.workersOf(parseJobId(id)?.model ?? '');
    const ahead = found.status === 'queued' ? await backlog.ahead(id) : undefined;
    return showUnfinished(id, found, { workers, ahead });
  }
}

/** What a job shows of its queue: the workers of its model and, until it is started, the jobs that come before it. */
interface Queueing {
  workers: number;
  ahead: number | undefined;
}

/** A job without an outcome, as callers see it. */
export function showUnfinished(
  id: string,
  { status, payload, startedAt }: UnfinishedJob,
  { workers, ahead }: Queueing,
): Job {
  const parsed = parseJobId(id);
  return {
    id,
    status,
    model: { name: parsed?.model ?? '', revision: null, workers },
    created_at: isoTime(payload.created_at),
    started_at: startedAt === null ? null : isoTime(startedAt),
    finished_at: null,
    expires_at: payload.expires_at === undefined ? null : isoTime(payload.expires_at),
    priority: parsed?.priority ?? 'normal',
    text_count: payload.texts.length,
    results: null,
    failed_texts: 0,
    ...(ahead === undefined ? {} : { ahead }),
    error: null,
    metadata: payload.metadata ?? null,
    webhook: showWebhook('job', payload.webhook, undefined),
    timings_ms: null,
    urls: { self: selfUrl(id) },
  };
}
