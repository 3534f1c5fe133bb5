/** The class that programs use to call Amulet's API. */
import { isFinal } from '../shared/contract/states.ts';
import { BatchHandle } from './batch-handle.ts';
import type { BatchInput } from './batch-input.ts';
import { FetchHttp } from './fetch-http.ts';
import { newKey } from './key.ts';
import { ClassificationError } from './outcome-errors.ts';
import { listAll } from './pages.ts';
import { Server } from './server.ts';
import { submitBatch, type BatchSubmitOptions } from './submit-batch.ts';
import type {
  ApplyFunction,
  Batch,
  BatchStatus,
  Classification,
  Delivery,
  DeliveryStatus,
  Job,
  JobEventType,
  JobStatus,
  ListedJob,
  Model,
  RowResult,
  Threshold,
} from './types.ts';
import { LONG_POLL_S, longPoll, type CallOptions, type WaitOptions } from './wait.ts';

export interface ClientOptions {
  /** Address of the API, such as `http://127.0.0.1:3000`, with the path under which a proxy serves it, if any. */
  url: string | URL;
  /** Key for a server that requires one. */
  apiKey?: string | undefined;
  /** Longest silence of the server within one request, in ms; default 30 s. */
  timeoutMs?: number | undefined;
  /**
   * How long a call is retried, in ms, while it fails for a temporary reason: no connection, 429, 5xx; default 30 s. 0: no
   * retries.
   */
  patienceMs?: number | undefined;
  /** Default: the fetch of the runtime. */
  fetch?: typeof globalThis.fetch | undefined;
}

/** A text, or a text with an id that is returned with its result. */
export type TextInput = string | { id?: string | undefined; text: string };

/** Options of a job, described in docs/submit-and-poll.md; the server has defaults for those left out. */
export interface SubmitOptions extends CallOptions {
  /** Labels per text; null: all. Default 1; with a `threshold`, all that reach it. */
  top_k?: number | null | undefined;
  /** The least score of the labels that are returned, possibly none. */
  threshold?: Threshold | undefined;
  /** Default: the model's own. */
  function_to_apply?: ApplyFunction | undefined;
  model?: string | undefined;
  /** Returned with the job. */
  metadata?: Record<string, unknown> | undefined;
  priority?: 'normal' | 'low' | undefined;
  /** Seconds after which a job that has not started expires. */
  expires_in?: number | undefined;
  webhook?: { url: string; events?: readonly JobEventType[] | undefined } | undefined;
  /** Your own key, so that the same call, repeated after a crash, returns the same job. Default: a new key per call. */
  idempotencyKey?: string | undefined;
}

export interface ClassifyOptions extends Omit<SubmitOptions, 'webhook'> {
  /** Longest wait for the results, in ms; default: no limit. */
  timeoutMs?: number | undefined;
}

/** Filters of a list; default: everything. */
export interface ListOptions<Status extends string> extends CallOptions {
  /** Only those with this status. */
  status?: Status | undefined;
  /** Only those of this model. */
  model?: string | undefined;
}

export type JobListOptions = ListOptions<JobStatus>;
export type BatchListOptions = ListOptions<BatchStatus>;
/** `failed`: given up after the last attempt. */
export type DeliveryListOptions = ListOptions<DeliveryStatus>;

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_PATIENCE_MS = 30_000;

/** @throws TypeError that contains no secret */
function parseBase(url: string | URL): URL {
  // Not URL.canParse() or URL.parse(): some browsers in use lack them.
  let base: URL;
  try {
    base = new URL(url);
  } catch {
    throw new TypeError(`url: ${JSON.stringify(url)} is not a URL like http://127.0.0.1:3000`);
  }
  if (base.username !== '' || base.password !== '') {
    throw new TypeError('url: must not contain a user name or password; pass a key as apiKey');
  }
  if (!/^https?:$/.test(base.protocol)) throw new TypeError(`${base.href} is neither http: nor https:`);
  return base;
}

/** Checks the key here, since the runtime's error for an invalid header contains it. @throws TypeError */
function bearer(apiKey: string): string {
  if (!/^[\x21-\x7e]*$/.test(apiKey.trim()))
    throw new TypeError('apiKey: contains characters that are not allowed in a key');
  return `Bearer ${apiKey.trim()}`;
}

/** Every call throws AmuletError, or the reason of its signal. */
export class AmuletClient {
  readonly #server: Server;
  readonly #timeoutMs: number;

  constructor({
    url,
    apiKey,
    timeoutMs = DEFAULT_TIMEOUT_MS,
    patienceMs = DEFAULT_PATIENCE_MS,
    fetch = globalThis.fetch,
  }: ClientOptions) {
    const base = parseBase(url);
    const headers: Record<string, string> = apiKey === undefined ? {} : { Authorization: bearer(apiKey) };
    this.#server = new Server(new FetchHttp({ base, headers, fetch, idleMs: timeoutMs }), patienceMs);
    this.#timeoutMs = timeoutMs;
  }

  /** Submits up to 256 texts; the job is on disk when this resolves. */
  submit(input: TextInput | readonly TextInput[], options: SubmitOptions = {}): Promise<Job> {
    return this.#submit(input, options, 0);
  }

  /** Classifies one text. @throws ClassificationError, WaitTimeoutError */
  classify(text: TextInput, options?: ClassifyOptions): Promise<Classification>;
  /** Classifies up to 256 texts: a result each, in order; results may be errors. @throws ClassificationError, WaitTimeoutError */
  classify(texts: readonly TextInput[], options?: ClassifyOptions): Promise<RowResult[]>;
  async classify(
    input: TextInput | readonly TextInput[],
    { timeoutMs = Infinity, ...options }: ClassifyOptions = {},
  ): Promise<Classification | RowResult[]> {
    const until = performance.now() + timeoutMs;
    const waitS = Math.min(Math.floor(timeoutMs / 1000), LONG_POLL_S);
    const submitted = await this.#submit(input, options, waitS, until);
    const leftMs = Math.max(0, until - performance.now());
    const job = await this.wait(submitted, { timeoutMs: leftMs, signal: options.signal });
    if (!job.results) {
      const { code, message } = job.error ?? {
        code: `job_${job.status}`,
        message: `the job is ${job.status}`,
      };
      throw new ClassificationError(code, message, job);
    }
    if (isList(input)) return job.results;
    const [result] = job.results as [RowResult];
    if ('error' in result) throw new ClassificationError(result.error.code, result.error.message, job);
    return result;
  }

  /**
   * Waits for a job to end, succeeded or not: see `status`.
   * @param job or its id; a job that has ended is returned as it is
   * @throws WaitTimeoutError
   */
  async wait(job: string | Job, { timeoutMs = Infinity, signal }: WaitOptions = {}): Promise<Job> {
    if (typeof job !== 'string' && isFinal(job.status)) return job;
    const until = performance.now() + timeoutMs;
    const attempt = this.#server.attempts(signal, until);
    const latest = typeof job === 'string' ? undefined : job;
    const path = jobPath(typeof job === 'string' ? job : job.id);
    const ask = (waitS: number) =>
      attempt(
        () =>
          this.#server.http.json({
            method: 'GET',
            path,
            query: { wait: waitS },
            signal,
            idleMs: waitS * 1000 + this.#timeoutMs,
            until,
          }) as Promise<Job>,
      );
    return longPoll(ask, { latest, signal, until });
  }

  get(id: string, { signal }: CallOptions = {}): Promise<Job> {
    return this.#server.json({ method: 'GET', path: jobPath(id), signal });
  }

  /**
   * Cancels a job; deletes a job that has ended, with its results.
   * @returns the job, or undefined once deleted
   */
  cancel(job: string | Job, { signal }: CallOptions = {}): Promise<Job | undefined> {
    return this.#server.cancel<Job>(jobPath(typeof job === 'string' ? job : job.id), signal);
  }

  /** Your jobs until they expire, newest first. */
  jobs({ status, model, signal }: JobListOptions = {}): AsyncGenerator<ListedJob, void, undefined> {
    return listAll(this.#server, '/v1/jobs', 'jobs', { status, model }, signal);
  }

  /**
   * Submits any number of texts, or a file of texts, and resolves when all are stored.
   * @throws also RangeError for an input without records, and errors of the input
   */
  async batch(input: BatchInput, options: BatchSubmitOptions = {}): Promise<BatchHandle> {
    const { id } = await submitBatch(this.#server, input, options);
    return new BatchHandle(id, this.#server);
  }

  /** A batch that was submitted before. Sends no request. */
  batchById(id: string): BatchHandle {
    return new BatchHandle(id, this.#server);
  }

  /** Your batches, newest first. */
  batches({ status, model, signal }: BatchListOptions = {}): AsyncGenerator<Batch, void, undefined> {
    return listAll(this.#server, '/v1/batches', 'batches', { status, model }, signal);
  }

  /** Deliveries of your webhooks, newest first. */
  deliveries({ status, model, signal }: DeliveryListOptions = {}): AsyncGenerator<Delivery, void, undefined> {
    return listAll(this.#server, '/v1/webhooks', 'deliveries', { status, model }, signal);
  }

  /** One delivery, with its attempts. @param id the `webhook-id` that its receiver sees */
  delivery(id: string, { signal }: CallOptions = {}): Promise<Delivery> {
    return this.#server.json({ method: 'GET', path: deliveryPath(id), signal });
  }

  /**
   * Stops the attempts of a pending delivery; an attempt in flight may still succeed.
   * @throws ApiError `delivery_not_pending` when it was delivered or given up
   */
  cancelDelivery(id: string, { signal }: CallOptions = {}): Promise<Delivery> {
    return this.#server.json({ method: 'POST', path: `${deliveryPath(id)}/cancel`, signal });
  }

  /** Sends an event again now, delivered or not. */
  redeliver(id: string, { signal }: CallOptions = {}): Promise<Delivery> {
    return this.#server.json({ method: 'POST', path: `${deliveryPath(id)}/redeliver`, signal });
  }

  async models({ signal }: CallOptions = {}): Promise<Model[]> {
    const request = { method: 'GET', path: '/v1/models', signal } as const;
    return (await this.#server.json<{ models: Model[] }>(request)).models;
  }

  /**
   * @param waitS how long the server may hold the response until the job is final
   * @param until performance.now() after which the caller stops waiting
   */
  #submit(
    input: TextInput | readonly TextInput[],
    { signal, idempotencyKey = newKey(), ...options }: SubmitOptions,
    waitS: number,
    until?: number,
  ): Promise<Job> {
    const texts = isList(input) ? input : [input];
    return this.#server.json({
      method: 'POST',
      path: '/v1/jobs',
      headers: {
        'Content-Type': 'application/json',
        'Idempotency-Key': idempotencyKey,
        ...(waitS > 0 && { Prefer: `wait=${waitS}` }),
      },
      body: new TextEncoder().encode(JSON.stringify({ texts, ...options })),
      signal,
      idleMs: waitS * 1000 + this.#timeoutMs,
      until,
    });
  }
}

/** Array.isArray alone does not narrow readonly lists. */
const isList = (input: TextInput | readonly TextInput[]): input is readonly TextInput[] =>
  Array.isArray(input);

const jobPath = (id: string): string => `/v1/jobs/${encodeURIComponent(id)}`;
const deliveryPath = (id: string): string => `/v1/webhooks/${encodeURIComponent(id)}`;
