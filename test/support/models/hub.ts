/** A fake model hub on loopback: the part of Hugging Face's protocol that `amulet model pull` uses, with faults on demand. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface HubRequest {
  method: string;
  /** With its query. */
  path: string;
  authorization: string | undefined;
  range: string | undefined;
  /** The hub itself, or the other origin that has its large files. */
  at: 'hub' | 'storage';
}

/** Answers in the place of the hub. @returns false to leave it to the hub after all */
type Fault = (request: HubRequest, response: ServerResponse) => boolean;

const PAGE = 3;
const hex = (algorithm: string, ...parts: (string | Buffer)[]): string => {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

export class FakeHub {
  readonly requests: HubRequest[] = [];
  readonly files = new Map<string, Buffer>();
  id = 'somebody/some-model';
  commit = 'c0ffee0000000000000000000000000000000001';
  /** Everything needs it, if there is one. */
  token: string | undefined;
  /** What the hub says about files from so many bytes on it keeps elsewhere. */
  largeBytes = 1_000_000;
  /** Says that a large file hashes to this. */
  wrongHash: string | undefined;
  /** Whether the storage can begin in the middle of a file. */
  ranges = true;
  readonly #faults: { pattern: RegExp; fault: Fault; times: number }[] = [];
  readonly #hub = createServer((request, response) => this.#on('hub', request, response));
  readonly #storage = createServer((request, response) => this.#on('storage', request, response));

  static async start(): Promise<FakeHub> {
    const hub = new FakeHub();
    for (const server of [hub.#hub, hub.#storage]) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    }
    return hub;
  }

  get url(): string {
    return urlOf(this.#hub);
  }

  /** Has something else happen to the next `times` requests whose `at path` matches. */
  plan(pattern: RegExp, fault: Fault, times = 1): void {
    this.#faults.push({ pattern, fault, times });
  }

  reset(): void {
    this.#faults.length = 0;
    this.requests.length = 0;
    this.token = this.wrongHash = undefined;
    this.ranges = true;
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #on(at: HubRequest['at'], message: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers } = message;
    const request = { method, path: url, authorization: headers.authorization, range: headers.range, at };
    this.requests.push(request);
    const planned = this.#faults.find(({ pattern, times }) => times > 0 && pattern.test(`${at} ${url}`));
    if (planned) {
      planned.times--;
      if (planned.fault(request, response)) return;
    }
    if (at === 'storage') {
      const content = [...this.files.values()].find((each) => url === `/${hex('sha256', each)}`);
      if (content) this.#send(content, request, response);
      else response.writeHead(404).end();
      return;
    }
    this.#answer(request, response);
  }

  #answer(request: HubRequest, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.path, this.url);
    const refuse = (status: number, code: string) =>
      response.writeHead(status, { 'x-error-code': code }).end(JSON.stringify({ error: code }));
    if (this.token !== undefined && request.authorization !== `Bearer ${this.token}`) {
      refuse(401, 'RepoNotFound');
      return;
    }
    const parsed = /^\/(?:api\/models\/)?([\w.-]+\/[\w.-]+)\/(revision|tree|resolve)\/([^/]+)\/?(.*)$/.exec(
      pathname,
    );
    const [, id, action, revision = '', file = ''] = parsed ?? [];
    if (id !== this.id) {
      refuse(404, 'RepoNotFound');
      return;
    }
    if (![this.commit, 'main'].includes(decodeURIComponent(revision))) {
      refuse(404, 'RevisionNotFound');
      return;
    }
    if (action === 'resolve') this.#resolve(decodeURIComponent(file), request, response);
    else if (action === 'tree') this.#tree(Number(searchParams.get('cursor') ?? 0), pathname, response);
    else json(response, { _id: '1', id, sha: this.commit, private: false, gated: false });
  }

  #tree(cursor: number, pathname: string, response: ServerResponse): void {
    const folders = new Set(
      [...this.files.keys()].filter((name) => name.includes('/')).map((name) => name.split('/')[0]!),
    );
    const entries = [
      ...[...folders].map((path) => ({ type: 'directory', oid: '0', size: 0, path })),
      ...[...this.files].map(([path, content]) => {
        const oid = hex('sha1', `blob ${content.length}\0`, content);
        if (!this.#isLarge(content)) return { type: 'file', oid, size: content.length, path };
        const sha256 = this.wrongHash ?? hex('sha256', content);
        return {
          type: 'file',
          oid,
          size: content.length,
          path,
          lfs: { oid: sha256, size: content.length, pointerSize: 134 },
        };
      }),
    ];
    const next = cursor + PAGE;
    const link =
      next < entries.length
        ? { link: `<${this.url}${pathname}?recursive=true&expand=false&cursor=${next}>; rel="next"` }
        : {};
    json(response, entries.slice(cursor, next), link);
  }

  #resolve(path: string, request: HubRequest, response: ServerResponse): void {
    const content = this.files.get(path);
    if (!content) {
      response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
    } else if (this.#isLarge(content)) {
      const sha256 = hex('sha256', content);
      response
        .writeHead(302, {
          location: `${urlOf(this.#storage)}/${sha256}`,
          'x-repo-commit': this.commit,
          'x-linked-size': content.length,
          'x-linked-etag': `"${sha256}"`,
        })
        .end();
    } else this.#send(content, request, response);
  }

  #isLarge(content: Buffer): boolean {
    return content.length >= this.largeBytes;
  }

  #send(content: Buffer, { range }: HubRequest, response: ServerResponse): void {
    const from = this.ranges ? Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0) : 0;
    const part = content.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': part.length,
      ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
    });
    response.end(part);
  }
}

/** Sends so much of what would be sent, then drops the connection. */
export function cutAfter(bytes: number, hub: FakeHub): Fault {
  return ({ path, range }, response) => {
    const content = [...hub.files.values()].find((each) => path === `/${hex('sha256', each)}`);
    if (!content) throw new Error(`${path} is no large file`);
    const from = hub.ranges ? Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0) : 0;
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': content.length - from,
      ...(from > 0 && { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` }),
    });
    response.write(content.subarray(from, from + bytes), () => setTimeout(() => response.destroy(), 20));
    return true;
  };
}

/** Begins a list of the API, then drops the connection. */
export function cutList(_: HubRequest, response: ServerResponse): boolean {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
  response.write('[{"type": "file", ', () => setTimeout(() => response.destroy(), 20));
  return true;
}

/** Answers with a status and nothing else. */
export function refuse(status: number, headers: Record<string, string> = {}): Fault {
  return (_, response) => {
    response.writeHead(status, headers).end();
    return true;
  };
}

function json(response: ServerResponse, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
