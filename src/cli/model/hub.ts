/** Client of a model hub: lists the files of a repository at a commit, and reads them. */
import { STATUS_CODES } from 'node:http';
import { listFiles, modelInfo } from '@huggingface/hub';
import { z } from 'zod';
import { ApiError, ConnectionError } from '../../client/errors.ts';
import { connectionError, retryAfterS } from '../../client/exchange.ts';
import type { HubAccess } from '../credentials.ts';
import { CliError, EXIT } from '../terminal/exit.ts';
import { bytes, count } from '../terminal/units.ts';
import type { HubFile } from './hub-files.ts';

const infoSchema = z.object({ sha: z.string().regex(/^[0-9a-f]{40}$/, 'is not the hash of a commit') });
const bytesSchema = z.int().min(0);
const fileSchema = z.object({
  path: z.string(),
  size: bytesSchema,
  oid: z.string(),
  lfs: z.object({ oid: z.string(), size: bytesSchema }).optional(),
});

/** After this silence the connection counts as dead. */
const SILENCE_MS = 60_000;
/** Limit for a page of the list, which has at most a thousand files. */
const PAGE_MS = 60_000;
/** Limits of a repository's list: a million files, or 100,000 with long names. */
const MAX_PAGES = 1000;
const MAX_LIST_BYTES = 32e6;

export interface Repository {
  /** `owner/name` */
  id: string;
  /** Full hash. */
  commit: string;
  files: HubFile[];
}

export class Hub {
  readonly #access: HubAccess;
  readonly #signal: AbortSignal;

  constructor(access: HubAccess, signal: AbortSignal) {
    this.#access = access;
    this.#signal = signal;
  }

  /**
   * Lists the files of a repository.
   * @param revision branch, tag or commit
   * @throws CliError; ConnectionError and ApiError, which may be temporary
   */
  async read(id: string, revision: string): Promise<Repository> {
    const list = { pages: new Set<string>(), bytes: 0 };
    const options = {
      hubUrl: this.#access.endpoint,
      // Does two things of the library itself: it sends the token, whose form the library would check, and reports errors.
      fetch: (url: string | URL | Request, init?: RequestInit) =>
        this.#fetchPage(new URL(url instanceof Request ? url.url : url), init, { id, revision }, list),
    };
    try {
      const info = await modelInfo({ name: id, revision, additionalFields: ['sha'], ...options });
      const { sha } = infoSchema.parse(info);
      const repo = { type: 'model', name: id } as const;
      const files: HubFile[] = [];
      for await (const entry of listFiles({ repo, revision: sha, recursive: true, ...options })) {
        if (entry.type !== 'file') continue;
        const { path, size, oid, lfs } = fileSchema.parse(entry);
        files.push({
          path,
          bytes: lfs?.size ?? size,
          hash: lfs ? { algorithm: 'sha256', hex: lfs.oid } : { algorithm: 'git-blob', hex: oid },
        });
      }
      return { id, commit: sha, files };
    } catch (error) {
      // The library does not check the form of a response and throws any of these for a wrong one.
      const stumbled = [SyntaxError, TypeError, RangeError, z.ZodError].some((kind) => error instanceof kind);
      if (!stumbled) throw error;
      const message = `${this.#access.endpoint} does not answer like a model hub`;
      throw new CliError(EXIT.failed, message, [], error);
    }
  }

  /**
   * Reads a file from an offset.
   * @returns `from`: the actual offset, since some servers can only start at 0
   * @throws the errors of read(); the body throws ConnectionError, too
   */
  async open(
    { id, commit }: Repository,
    { path, bytes: listed }: HubFile,
    offset: number,
  ): Promise<{ from: number; body: AsyncIterable<Uint8Array> }> {
    const { endpoint } = this.#access;
    const name = path.split('/').map(encodeURIComponent).join('/');
    const silence = new AbortController();
    const response = await this.#fetch(
      new URL(`${endpoint}/${id}/resolve/${commit}/${name}`),
      {
        headers: {
          // A compressed transfer cannot be resumed.
          'accept-encoding': 'identity',
          ...(offset > 0 && { range: `bytes=${offset}-` }),
        },
        signal: silence.signal,
      },
      { id, revision: commit },
    );
    const [, from, size] = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '') ?? [];
    const begins = response.status === 206 && Number(from) === offset && Number(size) === listed ? offset : 0;
    if (response.status === 206 && begins !== offset) {
      await response.body?.cancel();
      throw new ApiError(502, { title: `the hub sent another part of ${path} than requested` });
    }
    return { from: begins, body: this.#chunks(response, silence) };
  }

  async *#chunks({ body, url }: Response, silence: AbortController): AsyncGenerator<Uint8Array> {
    const timer = setTimeout(
      () => silence.abort(new ConnectionError('ETIMEDOUT', 'no data for a minute')),
      SILENCE_MS,
    );
    try {
      for await (const chunk of body ?? []) {
        timer.refresh();
        this.#signal.throwIfAborted();
        yield chunk;
      }
    } catch (error) {
      throw this.#connectionError(error, new URL(url));
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Reads a whole response of the API: a truncated one fails here, as a ConnectionError.
   * @param list pages and bytes of the same list so far
   * @throws CliError for an endless list
   */
  async #fetchPage(
    url: URL,
    init: RequestInit | undefined,
    what: { id: string; revision: string },
    list: { pages: Set<string>; bytes: number },
  ): Promise<Response> {
    const { endpoint } = this.#access;
    const endless = (how: string) =>
      new CliError(EXIT.failed, `${endpoint}: the list of files of ${what.id} ${how}`);
    if (list.pages.has(url.href)) throw endless('repeats a page');
    list.pages.add(url.href);
    if (list.pages.size > MAX_PAGES) throw endless(`has more than ${count(MAX_PAGES)} pages`);
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new ConnectionError('ETIMEDOUT', 'no complete answer within a minute')),
      PAGE_MS,
    );
    try {
      const response = await this.#fetch(url, { ...init, signal: late.signal }, what);
      const pieces: Uint8Array[] = [];
      for await (const piece of (response.body ?? []) as AsyncIterable<Uint8Array>) {
        list.bytes += piece.length;
        if (list.bytes > MAX_LIST_BYTES) throw endless(`is larger than ${bytes(MAX_LIST_BYTES)}`);
        pieces.push(piece);
      }
      return new Response(Buffer.concat(pieces), { headers: response.headers });
    } catch (error) {
      throw this.#connectionError(error, url);
    } finally {
      clearTimeout(timer);
    }
  }

  /** @returns a successful response */
  async #fetch(
    url: URL,
    init: RequestInit | undefined,
    what: { id: string; revision: string },
  ): Promise<Response> {
    const { endpoint, token } = this.#access;
    const headers = new Headers(init?.headers);
    // For the hub alone: fetch drops the header on a redirect to another origin.
    if (token !== undefined && url.origin === new URL(endpoint).origin)
      headers.set('authorization', `Bearer ${token}`);
    const signals = [this.#signal, init?.signal].filter((signal) => signal != null);
    let response: Response;
    try {
      response = await fetch(url, { ...init, headers, signal: AbortSignal.any(signals) });
    } catch (error) {
      throw this.#connectionError(error, url);
    }
    if (response.ok) return response;
    await response.body?.cancel();
    throw this.#refusal(response, what);
  }

  #refusal({ status, headers }: Response, { id, revision }: { id: string; revision: string }): Error {
    const problem = headers.get('x-error-code');
    const { endpoint, token, tokenCure } = this.#access;
    const failure = (message: string) => new CliError(EXIT.failed, message);
    if (problem === 'GatedRepo') {
      const then = token === undefined ? `then ${tokenCure}` : 'HF_TOKEN has no access yet';
      return failure(`${id} is gated: ask for access at ${endpoint}/${id}; ${then}`);
    }
    switch (status) {
      case 401:
        // The hub does not tell strangers which of the two applies.
        return failure(
          token === undefined
            ? `${endpoint} has no ${id}, or requires a token for it: ${tokenCure}`
            : `${endpoint} does not accept HF_TOKEN, or has no ${id}`,
        );
      case 403:
        return failure(
          `${endpoint} refuses ${id}: ${token === undefined ? tokenCure : 'HF_TOKEN does not give access to it'}`,
        );
      case 404:
        return problem === 'RevisionNotFound'
          ? failure(`${id} has no revision ${revision}`)
          : failure(`${endpoint} has no ${id}`);
      default:
        return new ApiError(status, { title: STATUS_CODES[status] }, retryAfterS(headers.get('retry-after')));
    }
  }

  #connectionError(error: unknown, url: URL): unknown {
    this.#signal.throwIfAborted();
    if (!(error instanceof TypeError)) return error;
    const cause = error.cause as (NodeJS.ErrnoException & { hostname?: string }) | undefined;
    if (cause?.message === 'redirect count exceeded')
      return new CliError(EXIT.failed, `${this.#access.endpoint} redirects endlessly`, [], error);
    const { code, message } = connectionError(cause?.code ?? 'ECONNRESET', cause ?? error);
    // A redirect may have led to another host, which only a failed look-up names.
    return new ConnectionError(code, `${cause?.hostname ?? url.host}: ${message}`, error);
  }
}
