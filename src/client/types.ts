/**
 * Types of the API's requests and responses. Written by hand, not inferred from the schemas, so that the published declarations
 * are readable and need no zod; a test compares each with its schema.
 * Times are ISO 8601 in UTC.
 */

// ---------------------------------------------------------------------------------------------------------------------
// Results

/** From the model's outputs to scores; `none`: the outputs as they are. */
export type ApplyFunction = 'softmax' | 'sigmoid' | 'none';

/**
 * The least score of a label that is chosen: a number for all, one for each label that may be chosen, or `model`: the model's own
 * (`thresholds` of the model).
 */
export type Threshold = number | 'model' | Readonly<Record<string, number>>;

/** A label of the model and its score. */
export interface LabelScore {
  label: string;
  score: number;
}

/** The labels of one text. */
export interface Classification {
  /** Your id of this text. */
  id?: string | undefined;
  /** The best label. */
  label: string;
  score: number;
  /**
   * The labels that were asked for, best first: those that reach the `threshold`, of these the best `top_k`. With a threshold, or a
   * `top_k` other than 1.
   */
  labels?: LabelScore[] | undefined;
  /** The text had more tokens than the model reads and was cut. */
  truncated: boolean;
  /**
   * Share of the text's tokens that the model cannot read, up to 1: not in its vocabulary, or in a script that none of its languages
   * uses. Absent when there are none.
   */
  unknown?: number | undefined;
}

/** Why one text of a job has no label; the others are not affected. */
export interface RowError {
  code: 'poison_input' | 'inference_failed' | 'text_too_long' | 'unreadable_text';
  message: string;
}

/** The outcome of one text: labels or an error; `'error' in result` tells which. */
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
  /** Model revision of the results; null before. */
  revision: string | null;
  /** Live workers that serve the model; the job waits while 0. Absent once the job has ended. */
  workers?: number | undefined;
}

/** Events to send when the job or batch ends, and where. */
export interface ShownWebhook {
  url: string;
  events: EventType[];
  /** Path of the latest event's delivery; null before the first event. */
  delivery: string | null;
}

export interface Job {
  id: string;
  status: JobStatus;
  model: ModelOfJob;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  /** When the job expires if it has not started; null without `expires_in`. */
  expires_at: string | null;
  priority: 'normal' | 'low';
  /** Number of texts; null for a job that ended without results under an earlier version. */
  text_count: number | null;
  /** One entry per text, in the order submitted; null until the job has finished. */
  results: RowResult[] | null;
  /** Number of results that are errors. */
  failed_texts: number;
  /** Unfinished jobs of the same model and priority that were submitted earlier; absent once this job has started. */
  ahead?: number | undefined;
  /** Why the job as a whole has no results. */
  error: { code: string; message: string } | null;
  metadata: Record<string, unknown> | null;
  webhook: ShownWebhook | null;
  /** Time waiting, in processing, and in total, in ms; null until the job has finished. */
  timings_ms: { queue: number; inference: number; total: number } | null;
  urls: { self: string };
}

/** A job in a list: without its results. */
export type ListedJob = Omit<Job, 'results'>;

// ---------------------------------------------------------------------------------------------------------------------
// Batches

/** `completed`, `failed`, `canceled` and `expired` are final. */
export type BatchStatus = 'open' | 'queued' | 'processing' | 'completed' | 'failed' | 'canceled' | 'expired';

export type InputFormat = 'ndjson' | 'csv' | 'lines';

/**
 * The meaning of quotes in CSV. `"`: fields may be quoted and span lines; `none`: a quote is an ordinary character; `line`:
 * quoted fields end on their line, and a line with an unclosed one is read without quoting.
 */
export type QuoteMode = '"' | 'none' | 'line';

export interface Batch {
  id: string;
  status: BatchStatus;
  model: ModelOfJob;
  created_at: string;
  /** When its input was complete. */
  queued_at: string | null;
  started_at: string | null;
  finished_at: string | null;
  /** When the batch will be removed with its data, unless it is changed. */
  expires_at: string | null;
  input: {
    format: InputFormat;
    text_field: string;
    id_field: string | null;
    bytes: number;
    parts: number;
    /** CSV: records with a quoted field that spans lines. More than expected suggest a missing quote. */
    multiline_rows?: number | undefined;
  };
  top_k: number | null;
  /** Absent when none was asked for. */
  threshold?: Threshold | undefined;
  /** Absent when it is the model's own. */
  function_to_apply?: ApplyFunction | undefined;
  rows: {
    /** Rows so far while the batch is open. */
    total: number;
    finished: number;
    /** Finished rows that are errors. */
    failed: number;
    /** Finished rows that have labels, but tokens that the model cannot read. */
    with_unknown: number;
    /** Mean of `unknown` over those rows; null without any. */
    mean_unknown: number | null;
    /** Finished rows whose text was cut; null: not counted. */
    truncated: number | null;
    /** Mean `score` of the finished rows that have labels; null: there are none, or they were not counted. */
    mean_score: number | null;
    /** Finished rows with a label that `labels` leaves out; null: not counted. */
    with_other_label: number | null;
  };
  /**
   * Finished rows by their best `label`, the most frequent first; at most 100 labels. Null: not all rows were counted, because a
   * worker of an earlier version finished some of them.
   */
  labels: Record<string, number> | null;
  /** Failed rows by the `code` of their error; null: not counted. */
  errors: Record<string, number> | null;
  rows_per_second: number | null;
  /** Estimated seconds until the batch is finished. */
  eta_s: number | null;
  /**
   * A temporary problem, after which the batch continues by itself; or `results_damaged`, which resuming the batch repairs; or
   * `input_damaged`.
   */
  problem: { code: string; message: string; since: string } | null;
  /** Why the batch ended without being completed. */
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

/** The outcome of one record of a batch. `line` is the input line on which it begins, from 1. */
export type BatchRow = { line: number } & (
  Classification | { id?: string | undefined; error: BatchRowError }
);

/** The form of downloaded results. */
export interface ResultsForm {
  /** Default `ndjson`; the others are tables with a header. */
  format?: 'ndjson' | 'csv' | 'tsv' | undefined;
  /** Columns or fields of the input to return beside the results: these, or `*` for all. NDJSON keeps their types. */
  keep?: '*' | readonly string[] | undefined;
  /** Tables, of a batch with `top_k=all`: a column `score_LABEL` for each label. */
  scoreColumns?: boolean | undefined;
  /** Tables: no apostrophe before text that a spreadsheet would take for a formula. */
  raw?: boolean | undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Webhooks

/** A job in a webhook, with an absolute URL. */
export interface JobOfEvent extends Omit<Job, 'webhook' | 'results'> {
  /** Absent in a thin event. */
  results?: Job['results'] | undefined;
}

/** The body of a webhook about a job. */
export interface JobEvent {
  type: JobEventType;
  /** Time of the event. */
  timestamp: string;
  /** `results` are left out, since the event would exceed 20 KB; read the job for them. */
  thin: boolean;
  data: JobOfEvent;
}

/** The body of a webhook about a batch. */
export interface BatchEvent {
  type: BatchEventType;
  /** Time of the event. */
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
  /** The HTTP status; null without a response. */
  status: number | null;
  reason: string | null;
  /** The beginning of the response's body. */
  response: string | null;
  ms: number;
}

export type DeliveryStatus = 'pending' | 'delivered' | 'failed' | 'canceled';

/** The delivery of one event to its receiver. */
export interface Delivery {
  /** The `webhook-id` that receivers see. */
  id: string;
  type: EventType;
  /** `failed`: given up; `canceled`: by its owner. Each can be sent again. */
  status: DeliveryStatus;
  url: string;
  created_at: string;
  finished_at: string | null;
  /** Earliest time of the next attempt; null when none is planned. */
  next_attempt_at: string | null;
  /** Number of requested redeliveries. */
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
  /** Tokens of a text that the model reads; further ones are cut. */
  max_tokens: number;
  /** Each label is scored independently. */
  multi_label: boolean;
  /** Function from outputs to scores when a request does not say. */
  function_to_apply?: ApplyFunction | undefined;
  /** Logits are divided by it before softmax or sigmoid; absent: 1. */
  temperature?: number | undefined;
  /** The model's own thresholds, for `threshold: 'model'`; absent: it has none. */
  thresholds?: Record<string, number> | undefined;
  /** What the model was made for. */
  task?: string | undefined;
  /** Options that all its live workers understand; absent without workers. */
  options?: ('top_k' | 'function_to_apply' | 'threshold')[] | undefined;
  /** Languages that the model reads, as BCP 47 language codes; null: not known. */
  languages: string[] | null;
  /** Bytes of input that one model process labels in about a second, as a worker measured when it started. */
  chunk_bytes?: number | undefined;
  /** Model processes of each worker. */
  model_processes?: number | undefined;
  /** Largest measured difference between the scores of a text alone and in a batch. */
  batch_dependence?: number | undefined;
  /** The model of requests that name none. */
  default: boolean;
  /** Live workers that serve this model. */
  workers: number;
  /** Their model revisions; several only during a rollout. Every result names its own. */
  revisions: { revision: string; workers: number }[];
  /** When a worker last served the model, if none does now. Such models come last. */
  last_served_at?: string | undefined;
}
