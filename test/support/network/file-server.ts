/** A web server with files, ranges and ETags, which fails as it is told to. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** What happens to one request in place of a proper answer. */
export type FileFault =
  /** The connection is cut after so many bytes of the body. */
  | { cutAfter: number }
  /** The connection is cut before the answer. */
  | 'hang up'
  | { status: number; headers?: Record<string, string> };

export interface ServedFile {
  content: Buffer;
  /** Default: made of the content. */
  etag?: string | undefined;
  modified?: string;
  /** Without ranges the answer is always the whole file. */
  ranges?: boolean;
  /** Further headers of the answer. */
  headers?: Record<string, string>;
  /** The length of the body is not told. */
  chunked?: boolean;
  /** For the next requests, one each. */
  faults?: (FileFault | undefined)[];
  /** Answers with a redirect. */
  location?: string;
  /** Needs this `USER:PASSWORD`. */
  login?: string;
}

export class FileServer {
  readonly files = new Map<string, ServedFile>();
  /** Path and headers of every request. */
  readonly requests: { path: string; headers: IncomingMessage['headers'] }[] = [];
  readonly #server: Server;
  /** Connections that were ever made. */
  connections = 0;
  port = 0;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on('connection', () => this.connections++);
  }

  static async start(): Promise<FileServer> {
    const server = new FileServer();
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    const address = server.#server.address();
    if (address !== null && typeof address === 'object') server.port = address.port;
    return server;
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`;
  }

  /** Serves a file, and returns its address. */
  serve(path: string, file: ServedFile | Buffer | string): string {
    const served = typeof file === 'string' || Buffer.isBuffer(file) ? { content: Buffer.from(file) } : file;
    this.files.set(path, served);
    return this.url(path);
  }

  /** The ranges that were requested of a file, in order. */
  rangesOf(path: string): (string | undefined)[] {
    return this.requests.filter((request) => request.path === path).map(({ headers }) => headers.range);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const [path = ''] = (request.url ?? '').split('?');
    this.requests.push({ path, headers: request.headers });
    const file = this.files.get(path);
    const fault = file?.faults?.shift();
    if (fault === 'hang up') {
      request.socket.destroy();
      return;
    }
    if (fault && 'status' in fault) {
      response.writeHead(fault.status, fault.headers).end('no');
      return;
    }
    if (!file) {
      response.writeHead(404).end('no such file');
      return;
    }
    if (file.login !== undefined) {
      const expected = `Basic ${Buffer.from(file.login).toString('base64')}`;
      if (request.headers.authorization !== expected) {
        response.writeHead(401).end('who are you?');
        return;
      }
    }
    if (file.location !== undefined) {
      response.writeHead(302, { location: file.location }).end('over there');
      return;
    }
    this.#send(file, request, response, fault?.cutAfter);
  }

  #send(file: ServedFile, request: IncomingMessage, response: ServerResponse, cutAfter?: number): void {
    const { content, modified, ranges = true, headers = {}, chunked = false } = file;
    const etag =
      'etag' in file ? file.etag : `"${createHash('sha256').update(content).digest('hex').slice(0, 16)}"`;
    const all = {
      ...(etag !== undefined && { etag }),
      ...(modified !== undefined && { 'last-modified': modified }),
      ...headers,
    };
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const condition = request.headers['if-range'];
    const same = condition === undefined || condition === etag || condition === modified;
    let body = content;
    if (ranges && from !== undefined && same) {
      if (Number(from) >= content.length) {
        response.writeHead(416, { ...all, 'content-range': `bytes */${content.length}` }).end();
        return;
      }
      const end = to === undefined || to === '' ? content.length : Math.min(Number(to) + 1, content.length);
      body = content.subarray(Number(from), end);
      const range = `bytes ${from}-${end - 1}/${content.length}`;
      response.writeHead(206, { ...all, 'content-range': range, 'content-length': body.length });
    } else {
      response.writeHead(200, { ...all, ...(!chunked && { 'content-length': body.length }) });
    }
    if (cutAfter === undefined || cutAfter >= body.length) {
      response.end(body);
      return;
    }
    response.flushHeaders();
    response.write(body.subarray(0, cutAfter), () => setTimeout(() => request.socket.destroy(), 20));
  }
}
