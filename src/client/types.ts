/**
 * What goes over the wire, as the API's contract has it. Written out here, not inferred from the schemas, so that the
 * declarations of the published package can be read, and used without zod; a test compares each with its schema.
 * Times are ISO 8601 in UTC.
 */

// ---------------------------------------------------------------------------------------------------------------------
// Results

/** A label of the model and its score. */
export interface LabelScore {
  label: string;
  score: number;
}

/** The labels of one text. */
export interface Classification {
  /** The id that you gave this text. */
  id?: string | undefined;
  /** The best label. */
  label: string;
  score: number;
  /** The best `top_k` labels, best first; only when `top_k` is not 1. */
  labels?: LabelScore[] | undefined;
  /** The text had more tokens than the model reads; the rest was cut. */
  truncated: boolean;
  /** Share of the text's tokens that are not in the model's vocabulary, up to 1; left out when there are none. */
  unknown?: number | undefined;
}

/** Why one text of a job has no label; the others are not affected. */
export interface RowError {
  code: 'poison_input' | 'inference_failed' | 'text_too_long' | 'unreadable_text';
  message: string;
}

/** The outcome of one text: labels, or an error in its place. `'error' in result` tells. */
export type RowResult = Classification | { id?: string | undefined; error: RowError };

// ---------------------------------------------------------------------------------------------------------------------
// Jobs

/** `succeeded`, `failed`, `canceled` and `expired` are final. */
export type JobStatus = 'queued' | 'processing' | 'succeeded' | 'failed' | 'canceled' | 'expired';

export type JobEventType = 'job.succeeded' | 'job.failed' | 'job.canceled' | 'job.expired';
export type BatchEventType = 'batch.completed' | 'batch.failed' | 'batch.canceled' | 'batch.expired';
export type EventType = JobEventType | BatchEventType;

export interface ModelOfJob {
  name: string;
  /** Which weights answered; null until they have. */
  revision: string | null;
  /** Live workers that serve the model; not there any more when it has ended. With 0 it waits. */
  workers?: number | undefined;
}

/** What is sent, and where, when the end is reached. */
export interface ShownWebhook {
  url: string;
  events: EventType[];
  /** Where the delivery of the latest event can be looked at; null until there is one. */
  delivery: string | null;
}

export interface Job {
  id: string;
  status: JobStatus;
  model: ModelOfJob;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  /** When it expires unless it was started before; null without `expires_in`. */
  expires_at: string | null;
  priority: 'normal' | 'low';
  /** How many texts it has; null when it ended without results under an earlier version. */
  text_count: number | null;
  /** One entry per text, in the order they were sent; null until the job has finished. */
  results: RowResult[] | null;
  /** How many results are errors. */
  failed_texts: number;
  /** Jobs of the same model and priority that came in before and have no outcome yet; not there any more when it was begun. */
  ahead?: number | undefined;
  /** Why the job as a whole has no results. */
  error: { code: string; message: string } | null;
  metadata: Record<string, unknown> | null;
  webhook: ShownWebhook | null;
  /** Waiting, being worked on, and both, in milliseconds; null until the job has finished. */
  timings_ms: { queue: number; inference: number; total: number } | null;
  urls: { self: string };
}

/** A job without its results, as the list has it. */
export type ListedJob = Omit<Job, 'results'>;

// ---------------------------------------------------------------------------------------------------------------------
// Batches

/** `completed`, `failed`, `canceled` and `expired` are final. */
export type BatchStatus = 'open' | 'queued' | 'processing' | 'completed' | 'failed' | 'canceled' | 'expired';

export type InputFormat = 'ndjson' | 'csv' | 'lines';

/**
 * What quotes mean in CSV. `"`: fields may be quoted and span lines; `none`: quotes are characters like any other; `line`:
 * quoted fields end on their line, and a line on which one does not is read without quoting.
 */
export type QuoteMode = '"' | 'none' | 'line';

export interface Batch {
  id: string;
  status: BatchStatus;
  model: ModelOfJob;
  created_at: string;
  /** When its input was whole. */
  queued_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  /** When it is removed, with its data, if nothing happens. */
  expires_at: string | null;
  input: {
    format: InputFormat;
    text_field: string;
    id_field: string | null;
    bytes: number;
    parts: number;
    /** CSV: records with a quoted field that spans lines. More than you expect, and a quote is missing. */
    multiline_rows?: number | undefined;
  };
  top_k: number | null;
  rows: {
    /** While the batch is open: so far. */
    total: number;
    finished: number;
    /** How many of the finished ones are errors. */
    failed: number;
    /** How many of the finished ones have labels, but tokens outside the model's vocabulary. */
    with_unknown: number;
    /** Mean of `unknown` over those rows; null while there are none. */
    mean_unknown: number | null;
  };
  rows_per_second: number | null;
  /** Seconds until it is done, at this rate. */
  eta_s: number | null;
  /**
   * Trouble that passes, after which the batch goes on by itself; or `results_damaged`, which resuming the batch repairs, or
   * `input_damaged`.
   */
  problem: { code: string; message: string; since: string } | null;
  /** Why the batch came to an end without being completed. */
  error: { code: string; message: string } | null;
  metadata: Record<string, unknown> | null;
  webhook: ShownWebhook | null;
  urls: { self: string; results: string };
}

/** One part of a batch's input. */
export interface BatchPart {
  number: number;
  /** Of the content without `Content-Encoding`, in hex. */
  sha256: string;
  /** Of the content without `Content-Encoding`. */
  bytes: number;
  rows: number;
  /** Physical lines, empty ones and headers included. */
  lines: number;
}

/** Why one record of a batch has no label. */
export interface BatchRowError {
  code:
    | RowError['code']
    | 'invalid_record'
    | 'invalid_encoding'
    | 'invalid_id'
    | 'invalid_text'
    | 'record_too_long';
  message: string;
}

/** The outcome of one record of a batch. `line` is the line of the input that it begins on, from 1. */
export type BatchRow = { line: number } & (
  Classification | { id?: string | undefined; error: BatchRowError }
);

// ---------------------------------------------------------------------------------------------------------------------
// Webhooks

/** A job as a webhook tells of it, with an absolute URL. */
export interface JobOfEvent extends Omit<Job, 'webhook' | 'results'> {
  /** Left out of an event that is thin. */
  results?: Job['results'] | undefined;
}

/** The body of a webhook about a job. */
export interface JobEvent {
  type: JobEventType;
  /** When it happened. */
  timestamp: string;
  /** The event would have more than 20 KB: `results` are left out; get the job. */
  thin: boolean;
  data: JobOfEvent;
}

/** The body of a webhook about a batch. */
export interface BatchEvent {
  type: BatchEventType;
  /** When it happened. */
  timestamp: string;
  thin: false;
  data: Omit<Batch, 'webhook'>;
}

export type WebhookEvent = JobEvent | BatchEvent;

/** One attempt to deliver an event. */
export interface DeliveryAttempt {
  at: string;
  outcome:
    | 'delivered'
    | 'redirect'
    | 'rejected'
    | 'gone'
    | 'throttled'
    | 'server_error'
    | 'timeout'
    | 'connection'
    | 'blocked';
  /** The HTTP status; null when there was no answer. */
  status: number | null;
  reason: string | null;
  /** The beginning of the body of the answer. */
  response: string | null;
  ms: number;
}

export type DeliveryStatus = 'pending' | 'delivered' | 'failed' | 'canceled';

/** An event on its way to its receiver. */
export interface Delivery {
  /** What receivers see as `webhook-id`. */
  id: string;
  type: EventType;
  /** `failed`: given up; `canceled`: no longer wanted by its owner. Each can be sent again. */
  status: DeliveryStatus;
  url: string;
  created_at: string;
  finished_at: string | null;
  /** Not before; null when no further one is planned. */
  next_attempt_at: string | null;
  /** How often it was asked to be sent again. */
  redeliveries: number;
  /** The latest ones, oldest first. */
  attempts: DeliveryAttempt[];
  urls: { self: string; source: string };
}

// ---------------------------------------------------------------------------------------------------------------------
// Models

export interface Model {
  name: string;
  revision: string;
  labels: string[];
  /** Tokens of a text that it reads; more are cut. */
  max_tokens: number;
  /** Each label is scored on its own. */
  multi_label: boolean;
  chunk_bytes?: number | undefined;
  /** Largest difference found between the score of a text alone and in a batch; 0: none. */
  batch_dependence?: number | undefined;
  /** What a request that names no model gets. */
  default: boolean;
  /** Live workers that serve this model. */
  workers: number;
  /** Which weights they have; several only during a rollout. Every result names its own. */
  revisions: { revision: string; workers: number }[];
  /** When a worker last served it, if none does now. Such models come last. */
  last_served_at?: string | undefined;
}
