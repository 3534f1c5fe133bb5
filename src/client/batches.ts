/** The API calls of an upload in parts, one method each (docs/bulk.md). They do not retry: see retry.ts. */
import { ApiError, ProtocolError } from './errors.ts';
import type { Http } from './exchange.ts';
import type { ApplyFunction, Batch, BatchPart, InputFormat, Model, QuoteMode, ResultsForm } from './types.ts';

/** How the file of a batch is read. */
export interface FileOptions {
  /** Format of a file; default: that of its name, or `ndjson`. */
  format?: InputFormat | undefined;
  /** Field or column of a file with the text; default `text`. */
  text_field?: string | undefined;
  /** Field or column of a file with an id that is returned; default `id`, if present. */
  id_field?: string | undefined;
  /** CSV: one ASCII character between fields. */
  delimiter?: string | undefined;
  /** CSV: the meaning of quotes; default: `line` with tabs, otherwise `"`. */
  quote?: QuoteMode | undefined;
  /** CSV without a header: its columns, as a CSV record. */
  columns?: string | undefined;
}

/** The query of `POST /v1/batches`; the server has defaults for undefined options. */
export interface BatchOptions extends FileOptions {
  format: InputFormat;
  /** A number of labels, or `all`. */
  top_k?: string | undefined;
  /** A number, `model`, or a JSON object of numbers by label. */
  threshold?: string | undefined;
  function_to_apply?: ApplyFunction | undefined;
  model?: string | undefined;
  /** A JSON object. */
  metadata?: string | undefined;
  /** Number of the first line of part 1. */
  first_line?: number | undefined;
  /** URL to notify when the batch has ended. */
  webhook?: string | undefined;
  /** Events to send, comma-separated. */
  webhook_events?: string | undefined;
}

export interface PartUpload {
  /** Whole records, gzipped or not. */
  body: Uint8Array;
  gzip: boolean;
  onSent?: (bytes: number) => void;
}

/** A result stream has an empty line every 15 s; a server of version 0.1 may be silent until the next row. */
const RESULTS_IDLE_MS = 60_000;
/** Clients of version 0.1 send `application/x-ndjson` alone and get no empty lines, since they cannot skip them. */
const ROWS_AND_HEARTBEATS = 'application/x-ndjson, */*;q=0.1';
/** Limit of encoded columns in a URL; servers and proxies accept URLs of 8 KB. */
const MAX_QUERY_COLUMNS = 4000;
/** Includes the time to store a part after its last byte. */
const PART_IDLE_MS = 2 * 60_000;

export class BatchClient {
  readonly #http: Http;

  constructor(http: Http) {
    this.#http = http;
  }

  /**
   * Creates a batch that waits for its parts. The same key and options return the same batch. Columns too long for a URL are sent
   * as the body.
   */
  async create(options: BatchOptions, idempotencyKey: string, signal?: AbortSignal): Promise<Batch> {
    const { columns, ...others } = options;
    const long = columns !== undefined && encodeURIComponent(columns).length > MAX_QUERY_COLUMNS;
    const headers = { 'Idempotency-Key': idempotencyKey };
    return asBatch(
      await this.#http.json({
        method: 'POST',
        path: '/v1/batches',
        query: { open: 'true', ...others, ...(long ? {} : { columns }) },
        headers: long ? { ...headers, 'Content-Type': 'text/csv' } : headers,
        ...(long && { body: new TextEncoder().encode(columns) }),
        signal,
      }),
    );
  }

  /** @param number from 1 */
  async putPart(id: string, number: number, part: PartUpload, signal?: AbortSignal): Promise<BatchPart> {
    const { body, gzip, onSent } = part;
    const answer = await this.#http.json({
      method: 'PUT',
      path: `${batchPath(id)}/parts/${number}`,
      headers: { 'Content-Type': 'application/octet-stream', ...(gzip && { 'Content-Encoding': 'gzip' }) },
      body,
      signal,
      idleMs: PART_IDLE_MS,
      ...(onSent && { onSent }),
    });
    return answer as BatchPart;
  }

  async listParts(id: string, signal?: AbortSignal): Promise<BatchPart[]> {
    const answer = await this.#http.json({ method: 'GET', path: `${batchPath(id)}/parts`, signal });
    const { parts } = (answer ?? {}) as { parts?: BatchPart[] };
    if (!Array.isArray(parts)) throw new ProtocolError('the list of parts is not a list');
    return parts;
  }

  /** All models that the server knows. */
  async listModels(signal?: AbortSignal): Promise<Model[]> {
    const answer = await this.#http.json({ method: 'GET', path: '/v1/models', signal });
    const { models } = (answer ?? {}) as { models?: Model[] };
    if (!Array.isArray(models)) throw new ProtocolError('the list of models is not a list');
    return models;
  }

  /** Declares these parts the complete input. Classification starts. */
  async complete(
    id: string,
    parts: readonly Pick<BatchPart, 'number' | 'sha256'>[],
    signal?: AbortSignal,
  ): Promise<Batch> {
    const body = new TextEncoder().encode(JSON.stringify({ parts }));
    const headers = { 'Content-Type': 'application/json' };
    const path = `${batchPath(id)}/complete`;
    return asBatch(
      await this.#http.json({ method: 'POST', path, headers, body, signal, idleMs: PART_IDLE_MS }),
    );
  }

  /** @param until performance.now() after which the caller stops waiting */
  async get(id: string, signal?: AbortSignal, until?: number): Promise<Batch> {
    return asBatch(await this.#http.json({ method: 'GET', path: batchPath(id), signal, until }));
  }

  /**
   * Requests the rows after line `after`, with fields of the input where `keep` names them; resolves when the response starts. The body is NDJSON with empty lines in between, cut
   * anywhere. It ends when the batch is final, and fails with a ConnectionError (ETIMEDOUT after a minute of silence).
   */
  async followResults(
    id: string,
    after: number,
    signal?: AbortSignal,
    keep?: ResultsForm['keep'],
  ): Promise<AsyncIterable<Uint8Array>> {
    return this.#http.send({
      method: 'GET',
      path: `${batchPath(id)}/results`,
      query: { follow: 'true', after: after === 0 ? undefined : after, keep: keepQuery(keep) },
      headers: { Accept: ROWS_AND_HEARTBEATS },
      signal,
      idleMs: RESULTS_IDLE_MS,
    });
  }

  /**
   * Requests the finished rows after line `after` in a form; resolves when the response starts. The body is cut anywhere, and fails
   * with a ConnectionError when the response breaks off.
   */
  async downloadResults(
    id: string,
    after: number,
    { format, keep, scoreColumns, raw }: ResultsForm,
    signal?: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    return this.#http.send({
      method: 'GET',
      path: `${batchPath(id)}/results`,
      query: {
        format,
        keep: keepQuery(keep),
        score_columns: scoreColumns === undefined ? undefined : String(scoreColumns),
        raw: raw === undefined ? undefined : String(raw),
        after: after === 0 ? undefined : after,
      },
      signal,
      idleMs: RESULTS_IDLE_MS,
    });
  }

  /** Resumes a failed batch, or one with damaged results. For retries use resumeAttempt(). */
  async resume(id: string, signal?: AbortSignal): Promise<Batch> {
    return asBatch(await this.#http.json({ method: 'POST', path: `${batchPath(id)}/resume`, signal }));
  }

  /** Cancels an unfinished batch; removes a finished one with its data. */
  async delete(id: string, signal?: AbortSignal): Promise<void> {
    const body = await this.#http.send({ method: 'DELETE', path: batchPath(id), signal });
    for await (const _ of body);
  }
}

/**
 * Makes an attempt to resume a failed batch that can be retried: if the response to the first was lost, the batch is no longer
 * failed.
 */
export function resumeAttempt(client: BatchClient, id: string, signal?: AbortSignal): () => Promise<Batch> {
  let repeated = false;
  return async () => {
    const maybeDone = repeated;
    repeated = true;
    try {
      return await client.resume(id, signal);
    } catch (error) {
      if (maybeDone && error instanceof ApiError && error.code === 'batch_not_failed')
        return client.get(id, signal);
      throw error;
    }
  };
}

/** Whether rows in the server's blob store are damaged: reading them fails until the batch is resumed. */
export function hasDamagedResults({ problem }: Batch): boolean {
  return problem?.code === 'results_damaged';
}

const keepQuery = (keep: ResultsForm['keep']): string | undefined =>
  keep === undefined || keep === '*' ? keep : keep.map(csvField).join(',');

/** A column called `*` is quoted, too, as opposed to all columns. */
const csvField = (name: string): string =>
  name === '*' || /[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;

const batchPath = (id: string): string => `/v1/batches/${encodeURIComponent(id)}`;

function asBatch(value: unknown): Batch {
  const { id, status, rows } = (value ?? {}) as Partial<Batch>;
  if (typeof id === 'string' && typeof status === 'string' && typeof rows === 'object') return value as Batch;
  throw new ProtocolError('the answer is not a batch: is this an Amulet server?');
}
