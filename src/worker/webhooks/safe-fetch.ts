/**
 * A POST to an address that somebody else has chosen. The name is looked up once, every address that it has must be one
 * that webhooks may go to, and the connection is made to just those: there is no second look-up between check and connect
 * that could answer differently. Each request has a connection of its own; redirects are not followed.
 */
import dns from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import {
  addressProblem,
  readReceiver,
  type Receiver,
  type ReceiverPolicy,
} from '../../shared/webhooks/receivers.ts';

export interface Reply {
  status: number;
  retryAfter: string | undefined;
  /** The beginning of the body. */
  body: string;
}

/** The address is not one that webhooks may go to. */
export class Blocked extends Error {
  override name = 'Blocked';
}

export class TimedOut extends Error {
  override name = 'TimedOut';
}

export interface Request {
  url: string;
  headers: Record<string, string>;
  body: string;
  timeoutMs: number;
  /** Breaks the request off; it then rejects with the signal's reason. */
  signal: AbortSignal;
}

/** Of the answer, so much is kept. */
const MAX_REPLY_BYTES = 2048;
/** The status says it all: the body is read for no longer than this. */
const REPLY_MS = 1000;
const LOOKUP_TIMEOUT_MS = 3000;
const LOOKUP_TRIES = 2;

interface Address {
  address: string;
  family: 4 | 6;
}

export class SafeFetch {
  readonly #policy: ReceiverPolicy;
  readonly #resolver: dns.promises.Resolver;

  /** @param servers DNS servers; empty: those of the system */
  constructor(policy: ReceiverPolicy, servers: readonly string[]) {
    this.#policy = policy;
    // Not dns.lookup: that occupies one of four threads for as long as it takes, and a few names whose servers do not answer
    // would hold up all deliveries.
    this.#resolver = new dns.promises.Resolver({ timeout: LOOKUP_TIMEOUT_MS, tries: LOOKUP_TRIES });
    if (servers.length > 0) this.#resolver.setServers(servers);
  }

  /**
   * @throws Blocked, TimedOut, the reason of the signal, or an error of the system (`ECONNREFUSED`, a TLS error, …)
   */
  async post(request: Request): Promise<Reply> {
    const receiver = readReceiver(request.url, this.#policy);
    if ('problem' in receiver) throw new Blocked(`the URL ${receiver.problem}`);
    const timeout = AbortSignal.timeout(request.timeoutMs);
    const signal = AbortSignal.any([timeout, request.signal]);
    try {
      const addresses = await abortable(this.#addresses(receiver), signal);
      return await send(receiver, addresses, request, signal);
    } catch (error) {
      if (request.signal.aborted) throw request.signal.reason;
      if (timeout.aborted) throw new TimedOut(`no answer within ${request.timeoutMs} ms`);
      throw error;
    }
  }

  /** Where to connect to: all of it allowed. */
  async #addresses({ host, port, vouched }: Receiver): Promise<Address[]> {
    if (isIP(host) !== 0) return [{ address: host, family: isIP(host) as 4 | 6 }];
    if (vouched) {
      const found = await dns.promises.lookup(host, { all: true });
      return found.map(({ address, family }) => ({ address, family: family as 4 | 6 }));
    }
    const [v4, v6] = await Promise.allSettled([this.#resolver.resolve4(host), this.#resolver.resolve6(host)]);
    const addresses: Address[] = [
      ...(v4.status === 'fulfilled' ? v4.value : []).map((address) => ({ address, family: 4 as const })),
      ...(v6.status === 'fulfilled' ? v6.value : []).map((address) => ({ address, family: 6 as const })),
    ];
    if (addresses.length === 0) {
      const { code = 'unknown' } = (v4 as PromiseRejectedResult).reason as NodeJS.ErrnoException;
      throw new Error(`${host} cannot be looked up (${code})`);
    }
    for (const { address } of addresses) {
      const problem = addressProblem(address, port, this.#policy);
      if (problem !== undefined) throw new Blocked(`${host} leads to ${problem}`);
    }
    return addresses;
  }
}

function send(
  { url, host }: Receiver,
  addresses: Address[],
  { headers, body }: Request,
  signal: AbortSignal,
): Promise<Reply> {
  const lookup: LookupFunction = (_name, options, callback) => {
    const [first] = addresses as [Address];
    if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  };
  const { request } = url.protocol === 'http:' ? http : https;
  const bytes = Buffer.from(body);
  return new Promise((resolve, reject) => {
    const call = request(url, {
      method: 'POST',
      // No pool: a connection lives as long as the check that was made for it.
      agent: false,
      lookup,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      headers: { ...headers, 'content-length': bytes.length, connection: 'close' },
      signal,
    });
    call.on('error', reject);
    call.on('response', (response) => {
      void beginning(response).then((text) => {
        call.destroy();
        resolve({
          status: response.statusCode ?? 0,
          retryAfter: response.headers['retry-after'],
          body: text,
        });
      });
    });
    call.end(bytes);
  });
}

/** The first bytes of an answer, as text; what comes later, or never, is not waited for. */
function beginning(response: http.IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    let size = 0;
    const timer = setTimeout(done, REPLY_MS);
    function done(): void {
      clearTimeout(timer);
      const text = new TextDecoder('utf-8').decode(Buffer.concat(pieces).subarray(0, MAX_REPLY_BYTES), {
        stream: true,
      });
      resolve(text.replaceAll('\0', '\u{fffd}'));
    }
    response.on('data', (piece: Buffer) => {
      pieces.push(piece);
      size += piece.length;
      if (size >= MAX_REPLY_BYTES) done();
    });
    response.on('end', done);
    response.on('error', done);
    response.on('close', done);
  });
}

function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
