/**
 * The batches API of docs/bulk.md, in memory, without queue and model: for tests of its clients, with faults on demand.
 * What it stores outlives restart(), as it would on disk.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { createAdaptorServer, type HttpBindings } from '@hono/node-server';
import { Hono, type Context } from 'hono';
import { readHeader, toHeader } from '../../../src/shared/bulk/csv.ts';
import type { InputSpec } from '../../../src/shared/bulk/input.ts';
import { parseChunk } from '../../../src/shared/bulk/parse.ts';
import { splitRecords } from '../../../src/shared/bulk/split.ts';
import type { Batch, BatchPart } from '../../../src/shared/contract/batches.ts';
import type { BatchStatus } from '../../../src/shared/contract/states.ts';
import { PROBLEMS, type ProblemCode } from '../../../src/shared/contract/problems.ts';

/** What happens to a request instead of what should. */
export type Fault =
  | { kind: 'answer'; status: number; headers?: Record<string, string>; problem?: ProblemCode }
  /** The connection is cut when so many bytes of the request have come. */
  | { kind: 'cut request'; bytes: number }
  /** The request is carried out, but its answer never comes. */
  | { kind: 'cut answer' }
  /** The connection is cut after so many bytes of the results. */
  | { kind: 'cut results'; bytes: number }
  /** The results end early, as if they were complete. */
  | { kind: 'end results'; bytes: number };

interface Planned {
  /** Of `METHOD /path`. */
  request: RegExp;
  times: number;
  fault: Fault;
}

interface StoredPart extends BatchPart {
  content: Buffer;
  /** How it came: gzip, or undefined. */
  encoding: string | undefined;
}

interface FakeBatch {
  batch: Batch;
  spec: InputSpec;
  firstLine: number;
  topK: string;
  parts: Map<number, StoredPart>;
  /** Lines of NDJSON, once it is complete. */
  results: string[];
  failedBefore: number[];
  unknownBefore: number[];
  completedAt: number;
}

interface Env {
  Bindings: HttpBindings;
}

const CUT = Symbol('cut');
const NOT_COUNTED = { truncated: null, mean_score: null, with_other_label: null };
const FOLLOW_MS = 15;
const PIECE_BYTES = 16 * 1024;

export class FakeBatches {
  readonly batches = new Map<string, FakeBatch>();
  /** `METHOD /path` of every request, with its query. */
  readonly requests: string[] = [];
  /** How fast the rows of a batch are finished. */
  rowsPerSecond = Infinity;
  /** False: as a server of an earlier version, whose batches say nothing of unknown tokens. */
  countsUnknown = true;
  /** Whether there is an empty line before and between the rows, as of a server that had nothing to send for a while. */
  heartbeats = false;
  /** How many rows at the end are never given out. */
  loseRows = 0;
  readonly #keys = new Map<string, string>();
  readonly #planned: Planned[] = [];
  #server: Server;
  #port = 0;

  private constructor() {
    this.#server = this.#listen();
  }

  static async start(): Promise<FakeBatches> {
    const fake = new FakeBatches();
    await fake.#up();
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Makes the next `times` requests that match go wrong. */
  plan(request: RegExp, fault: Fault, times = 1): void {
    this.#planned.push({ request, times, fault });
  }

  /** Lets everything go right from now on. */
  forgetFaults(): void {
    this.#planned.length = 0;
  }

  /** Whether all planned faults have happened. */
  get spent(): boolean {
    return this.#planned.every(({ times }) => times === 0);
  }

  /** The only batch. */
  get only(): FakeBatch {
    const [batch, ...others] = this.batches.values();
    if (!batch || others.length > 0) throw new Error(`there are ${this.batches.size} batches`);
    return batch;
  }

  /** Ends as a crash would, and comes back. */
  async restart(downMs: number): Promise<void> {
    await this.stop();
    await new Promise((resolve) => setTimeout(resolve, downMs));
    this.#server = this.#listen();
    await this.#up();
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  /** Gives a batch an end other than completion. */
  end(id: string, status: BatchStatus, error: Batch['error'] = null): void {
    Object.assign(this.batches.get(id)!.batch, { status, error, finished_at: new Date().toISOString() });
  }

  /** As somebody does who has a failed batch begin again when there are other weights. */
  beginAgain(revision: string): void {
    const it = this.only;
    it.results = it.results.map((row) => `${JSON.stringify({ ...(JSON.parse(row) as object), revision })}\n`);
    it.completedAt = Date.now();
    it.batch.model.revision = revision;
    Object.assign(it.batch, { status: 'processing', error: null, finished_at: null });
  }

  #listen(): Server {
    return createAdaptorServer({ fetch: this.#app().fetch }) as Server;
  }

  async #up(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    const address = this.#server.address();
    if (address !== null && typeof address === 'object') this.#port = address.port;
  }

  #app(): Hono<Env> {
    const app = new Hono<Env>();
    app.onError((error, c) => {
      // The other side going away is what these tests are about.
      if (error.cause !== CUT && (error as NodeJS.ErrnoException).code !== 'ECONNRESET') console.error(error);
      return c.body(null, 500);
    });
    app.use(async (c, next) => {
      const { pathname, search } = new URL(c.req.url);
      this.requests.push(`${c.req.method} ${pathname}${search}`);
      const fault = this.#faultFor(`${c.req.method} ${pathname}`);
      if (fault?.kind === 'answer') {
        for (const [name, value] of Object.entries(fault.headers ?? {})) c.header(name, value);
        return fault.problem
          ? problem(c, fault.problem, 'as planned', fault.status)
          : c.body('<html>', fault.status as 503);
      }
      if (fault?.kind === 'cut request') await readBody(c, fault.bytes);
      if (fault?.kind === 'cut results') c.set('cutAt' as never, fault.bytes as never);
      if (fault?.kind === 'end results') c.set('endAt' as never, fault.bytes as never);
      await next();
      if (fault?.kind === 'cut answer') c.env.incoming.socket.destroy();
      return undefined;
    });
    app.post('/v1/batches', async (c) => this.#create(c, (await readBody(c)).toString()));
    app.put('/v1/batches/:id/parts/:number', (c) => this.#with(c, (it) => this.#putPart(c, it)));
    app.get('/v1/batches/:id/parts', (c) =>
      this.#with(c, ({ parts }) =>
        c.json({ parts: [...parts.values()].map(shown).toSorted((a, b) => a.number - b.number) }),
      ),
    );
    app.post('/v1/batches/:id/complete', (c) => this.#with(c, (it) => this.#complete(c, it)));
    app.get('/v1/batches/:id', (c) => this.#with(c, (it) => c.json(this.#current(it))));
    app.get('/v1/batches/:id/results', (c) => this.#with(c, (it) => this.#results(c, it)));
    app.post('/v1/batches/:id/resume', (c) =>
      this.#with(c, (it) => {
        if (it.batch.status !== 'failed' && it.batch.problem?.code !== 'results_damaged')
          return problem(c, 'batch_not_failed', `the batch is ${it.batch.status}`);
        Object.assign(it.batch, { status: 'processing', error: null, problem: null, finished_at: null });
        return c.json(this.#current(it), 202);
      }),
    );
    app.delete('/v1/batches/:id', (c) =>
      this.#with(c, (it) => {
        const { id, status } = this.#current(it);
        if (['open', 'queued', 'processing'].includes(status)) {
          this.end(id, 'canceled', { code: 'batch_canceled', message: 'the batch was canceled' });
          return c.json(it.batch);
        }
        this.batches.delete(id);
        return c.body(null, 204);
      }),
    );
    return app;
  }

  #faultFor(request: string): Fault | undefined {
    const planned = this.#planned.find((candidate) => candidate.times > 0 && candidate.request.test(request));
    if (planned) planned.times--;
    return planned?.fault;
  }

  #with(
    c: Context<Env>,
    then: (batch: FakeBatch) => Response | Promise<Response>,
  ): Response | Promise<Response> {
    const found = this.batches.get(c.req.param('id') ?? '');
    return found ? then(found) : problem(c, 'batch_not_found', 'there is no such batch');
  }

  /** @param body the header of a CSV that is too long for a URL */
  #create(c: Context<Env>, body: string): Response {
    const query = c.req.query();
    const key = c.req.header('Idempotency-Key') ?? randomUUID();
    const known = this.batches.get(this.#keys.get(key) ?? '');
    if (known) return c.json(this.#current(known), 201);
    const { format = 'ndjson', text_field = 'text', id_field, delimiter, quote, top_k = '1' } = query;
    const columns = query.columns ?? (body === '' ? undefined : body);
    if (query.model === 'none') return problem(c, 'model_not_found', 'there is no model none; there is fake');
    const spec: InputSpec = {
      format: format as InputSpec['format'],
      textField: text_field,
      idField: id_field,
      delimiter: delimiter === 'tab' ? '\t' : delimiter,
      quote: quote as InputSpec['quote'],
    };
    if (columns !== undefined)
      spec.header = toHeader(readHeader(Buffer.from(columns), spec, LIMITS.header), spec);
    const id = `${randomUUID().replaceAll('-', '')}-b-fake`;
    const batch: Batch = {
      id,
      status: 'open',
      model: { name: 'fake', revision: null },
      created_at: new Date().toISOString(),
      queued_at: null,
      started_at: null,
      finished_at: null,
      expires_at: null,
      input: { format: spec.format, text_field, id_field: id_field ?? null, bytes: 0, parts: 0 },
      top_k: top_k === 'all' ? null : Number(top_k),
      rows: { total: 0, finished: 0, failed: 0, with_unknown: 0, mean_unknown: null, ...NOT_COUNTED },
      labels: null,
      errors: null,
      rows_per_second: null,
      eta_s: null,
      problem: null,
      error: null,
      metadata: query.metadata === undefined ? null : (JSON.parse(query.metadata) as Record<string, unknown>),
      webhook: null,
      urls: { self: `/v1/batches/${id}`, results: `/v1/batches/${id}/results` },
    };
    const firstLine = Number(query.first_line ?? 1);
    this.batches.set(id, {
      batch,
      spec,
      firstLine,
      topK: top_k,
      parts: new Map(),
      results: [],
      failedBefore: [],
      unknownBefore: [],
      completedAt: 0,
    });
    this.#keys.set(key, id);
    return c.json(batch, 201);
  }

  async #putPart(c: Context<Env>, { batch, spec, parts }: FakeBatch): Promise<Response> {
    const number = Number(c.req.param('number'));
    const body = await readBody(c);
    const encoding = c.req.header('Content-Encoding');
    const content = encoding === 'gzip' ? gunzipSync(body) : body;
    const sha256 = createHash('sha256').update(content).digest('hex');
    const there = parts.get(number);
    if (there)
      return there.sha256 === sha256 ? c.json(shown(there)) : problem(c, 'part_conflict', 'another content');
    if (batch.status !== 'open') return problem(c, 'batch_not_open', `the batch is ${batch.status}`);
    const { rows, lines } = await countsOf(content, spec);
    const part = { number, sha256, bytes: content.length, rows, lines, content, encoding };
    parts.set(number, part);
    batch.rows.total += rows;
    batch.input.bytes += content.length;
    batch.input.parts++;
    return c.json(shown(part), 201);
  }

  async #complete(c: Context<Env>, it: FakeBatch): Promise<Response> {
    const { batch, parts, spec } = it;
    const wanted = await c.req.json<{ parts: { number: number; sha256: string }[] }>();
    if (batch.queued_at !== null) return c.json(this.#current(it), 202);
    if (batch.status !== 'open') return problem(c, 'batch_not_open', `the batch is ${batch.status}`);
    const same =
      wanted.parts.length === parts.size &&
      wanted.parts.every((part) => parts.get(part.number)?.sha256 === part.sha256);
    if (!same) return problem(c, 'parts_mismatch', 'not those parts');
    if (batch.rows.total === 0) return problem(c, 'invalid_request', 'the input has no records');
    let line = it.firstLine;
    for (const part of [...parts.values()].toSorted((a, b) => a.number - b.number)) {
      for (const chunk of await chunksOf(part.content, spec)) {
        const limits = { maxTextChars: 5000, maxIdChars: 128 };
        for (const row of parseChunk(chunk.bytes, spec, line - 1 + chunk.firstLine, limits)) {
          it.failedBefore.push((it.failedBefore.at(-1) ?? 0) + ('error' in row ? 1 : 0));
          it.unknownBefore.push((it.unknownBefore.at(-1) ?? 0) + ('text' in row && isUnknown(row) ? 1 : 0));
          it.results.push(`${JSON.stringify('error' in row ? row : labelled(row, it.topK))}\n`);
        }
      }
      line += part.lines;
    }
    it.completedAt = Date.now();
    batch.model.revision = 'first';
    Object.assign(batch, {
      status: 'processing',
      queued_at: new Date().toISOString(),
      started_at: new Date().toISOString(),
    });
    return c.json(this.#current(it), 202);
  }

  #finished({ batch, results, completedAt }: FakeBatch): number {
    if (batch.status !== 'processing') return batch.rows.finished;
    const seconds = (Date.now() - completedAt) / 1000;
    return Math.min(
      results.length,
      this.rowsPerSecond === Infinity ? Infinity : Math.floor(seconds * this.rowsPerSecond),
    );
  }

  #current(it: FakeBatch): Batch {
    const { batch, results, failedBefore, unknownBefore } = it;
    if (batch.status === 'processing') {
      const finished = this.#finished(it);
      const unknown = unknownBefore[finished - 1] ?? 0;
      batch.rows = {
        total: results.length,
        finished,
        failed: failedBefore[finished - 1] ?? 0,
        with_unknown: unknown,
        mean_unknown: unknown === 0 ? null : UNKNOWN_SHARE,
        ...NOT_COUNTED,
      };
      if (!this.countsUnknown) {
        const { total, failed } = batch.rows;
        batch.rows = { total, finished, failed } as Batch['rows'];
      }
      if (finished === results.length) {
        Object.assign(batch, { status: 'completed', finished_at: new Date().toISOString() });
      } else if (this.rowsPerSecond !== Infinity) {
        batch.rows_per_second = this.rowsPerSecond;
        batch.eta_s = Math.ceil((results.length - finished) / this.rowsPerSecond);
      }
    }
    return batch;
  }

  #results(c: Context<Env>, it: FakeBatch): Response {
    const after = Number(c.req.query('after') ?? 0);
    const follow = c.req.query('follow') === 'true';
    const cutAt = c.get('cutAt' as never) as number | undefined;
    const endAt = c.get('endAt' as never) as number | undefined;
    const { socket } = c.env.incoming;
    const lines = this.#lines(it, after, follow);
    async function* pieces() {
      let sent = 0;
      for await (const piece of lines) {
        const limit = cutAt ?? endAt ?? Infinity;
        if (sent + piece.length < limit) {
          sent += piece.length;
          yield piece;
          continue;
        }
        yield piece.subarray(0, limit - sent);
        // What was yielded is to go out before the end.
        await new Promise((resolve) => setTimeout(resolve, 10));
        if (cutAt !== undefined) socket.destroy();
        return;
      }
    }
    c.header('Content-Type', 'application/x-ndjson');
    return c.body(ReadableStream.from(pieces()) as ReadableStream<Uint8Array<ArrayBuffer>>);
  }

  async *#lines(it: FakeBatch, after: number, follow: boolean): AsyncGenerator<Buffer> {
    let next = it.results.findIndex((row) => (JSON.parse(row) as { line: number }).line > after);
    if (next === -1) next = it.results.length;
    for (;;) {
      if (this.heartbeats) yield Buffer.from('\n');
      const { status } = this.#current(it);
      const finished = status === 'completed' ? it.results.length : this.#finished(it);
      const bytes = Buffer.from(
        it.results.slice(next, Math.min(finished, it.results.length - this.loseRows)).join(''),
      );
      next = Math.max(next, finished);
      for (let from = 0; from < bytes.length; from += PIECE_BYTES)
        yield bytes.subarray(from, from + PIECE_BYTES);
      if (!follow || (status !== 'processing' && status !== 'open' && status !== 'queued')) return;
      await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
    }
  }
}

const shown = ({ content: _, encoding: __, ...part }: StoredPart): BatchPart => part;

function problem(c: Context<Env>, code: ProblemCode, detail: string, status?: number): Response {
  const { title, status: usual } = PROBLEMS[code];
  const body = JSON.stringify({ title, status: status ?? usual, detail, code });
  c.header('Content-Type', 'application/problem+json');
  return c.body(body, (status ?? usual) as 500);
}

/** @param cutAt bytes after which the connection is cut */
async function readBody(c: Context<Env>, cutAt = Infinity): Promise<Buffer> {
  const { incoming } = c.env;
  const { socket } = incoming;
  const received: Buffer[] = [];
  let bytes = 0;
  for await (const piece of incoming) {
    received.push(piece as Buffer);
    bytes += (piece as Buffer).length;
    if (bytes >= cutAt) break;
  }
  if (cutAt !== Infinity) {
    socket.destroy();
    throw new Error('cut', { cause: CUT });
  }
  return Buffer.concat(received);
}

const LIMITS = {
  chunkRows: 1e9,
  chunkBytes: 1e9,
  maxRecordBytes: 1_000_000,
  header: { columns: 4096, bytes: 65_536 },
};

async function* once(content: Buffer): AsyncGenerator<Buffer> {
  yield content;
  await Promise.resolve();
}

async function chunksOf(content: Buffer, spec: InputSpec) {
  const chunks = [];
  for await (const chunk of splitRecords(once(content), spec, LIMITS)) chunks.push(chunk);
  return chunks;
}

async function countsOf(content: Buffer, spec: InputSpec): Promise<{ rows: number; lines: number }> {
  const records = splitRecords(once(content), spec, LIMITS);
  for (let rows = 0; ;) {
    const next = await records.next();
    if (next.done === true) return { rows, lines: next.value.lines };
    rows += next.value.rows;
  }
}

/** Of every text with an emoji. */
const UNKNOWN_SHARE = 0.4;
const isUnknown = ({ text }: { text: string }): boolean => /\p{Emoji_Presentation}/v.test(text);

/** A label that depends on the text alone. */
function labelled({ line, id, text }: { line: number; id?: string; text: string }, topK: string) {
  const unknown = isUnknown({ text }) ? { unknown: UNKNOWN_SHARE } : {};
  const share = createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32;
  const best = { label: share < 0.5 ? 'NEGATIVE' : 'POSITIVE', score: 0.5 + Math.abs(share - 0.5) };
  const labels = topK === '1' ? {} : { labels: [best] };
  return { line, ...(id !== undefined && { id }), ...best, ...labels, truncated: false, ...unknown };
}
