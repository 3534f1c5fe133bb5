/**
 * A POST to an address that somebody else has chosen. The name is looked up once, every address that it has must be one
 * that webhooks may go to, and the connection is made to just those: there is no second look-up between check and connect
 * that could answer differently. Each request has a connection of its own; redirects are not followed.
 */
import { constants } from 'node:crypto';
import dns from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import net, { isIP, type LookupFunction, type Socket, type TcpNetConnectOpts } from 'node:net';
import tls from 'node:tls';
import {
  addressProblem,
  readReceiver,
  type Receiver,
  type ReceiverPolicy,
} from '../../shared/runtime/receivers.ts';
import { BoundedSocket } from './bounded-socket.ts';

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
/**
 * Of TLS itself beside the response: certificates (OpenSSL takes up to 100 KB of them), and a few bytes a record. Without a
 * limit a receiver could send new keys (KeyUpdate) for as long as the attempt lasts.
 */
const HANDSHAKE_BYTES = 64 * 1024;
/** Each of several addresses has its share of the time, and no less than this. */
const MIN_CONNECT_MS = 250;
/**
 * Addresses of each kind that are tried. An answer of DNS has room for 4,000: one delivery would knock on as many doors.
 */
const MAX_ADDRESSES = 8;
const LOOKUP_TIMEOUT_MS = 3000;
const LOOKUP_TRIES = 2;

interface Address {
  address: string;
  family: 4 | 6;
}

/** What a receiver may send at most. */
export interface ResponseLimits {
  /** Of interim responses, headers and body together. */
  bytes: number;
  /** Responses with a status of 1xx, which come before the one that counts. */
  interim: number;
}

export class SafeFetch {
  readonly #policy: ReceiverPolicy;
  readonly #limits: ResponseLimits;
  readonly #resolver: dns.promises.Resolver;

  /** @param servers DNS servers; empty: those of the system */
  constructor(policy: ReceiverPolicy, servers: readonly string[], limits: ResponseLimits) {
    this.#policy = policy;
    this.#limits = limits;
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
    const { signal: given, timeoutMs } = request;
    // Not AbortSignal.any and .timeout: what they make stays in memory until the time is over.
    const end = new AbortController();
    const giveUp = () => end.abort(given.reason);
    const timer = setTimeout(() => end.abort(new TimedOut(`no answer within ${timeoutMs} ms`)), timeoutMs);
    given.addEventListener('abort', giveUp, { once: true });
    if (given.aborted) giveUp();
    try {
      const addresses = await abortable(this.#addresses(receiver), end.signal);
      const { status, retryAfter, body } = await abortable(
        ask(receiver, addresses, request, this.#limits, end.signal),
        end.signal,
      );
      // The receiver has decided: whatever becomes of the body, the attempt has ended like this.
      return { status, retryAfter, body: await body };
    } finally {
      clearTimeout(timer);
      given.removeEventListener('abort', giveUp);
      // Closes the connection.
      end.abort();
    }
  }

  /** Where to connect to: all of it allowed. */
  async #addresses({ host, port, vouched }: Receiver): Promise<Address[]> {
    if (isIP(host) !== 0) return [{ address: host, family: isIP(host) as 4 | 6 }];
    if (vouched) {
      const found = await dns.promises.lookup(host, { all: true });
      return found
        .slice(0, 2 * MAX_ADDRESSES)
        .map(({ address, family }) => ({ address, family: family as 4 | 6 }));
    }
    const [v4, v6] = await Promise.allSettled([this.#resolver.resolve4(host), this.#resolver.resolve6(host)]);
    const first = (found: PromiseSettledResult<string[]>) =>
      found.status === 'fulfilled' ? found.value.slice(0, MAX_ADDRESSES) : [];
    const addresses: Address[] = [
      ...first(v4).map((address) => ({ address, family: 4 as const })),
      ...first(v6).map((address) => ({ address, family: 6 as const })),
    ];
    if (addresses.length === 0) {
      throw unresolved(
        host,
        [v4, v6].map((result) => (result as PromiseRejectedResult).reason as NodeJS.ErrnoException),
      );
    }
    for (const { address } of addresses) {
      const problem = addressProblem(address, port, this.#policy);
      if (problem !== undefined) throw new Blocked(`${host} leads to ${problem}`);
    }
    return addresses;
  }
}

/** Why a name has no address, in words. @param errors of the look-ups, one for each kind of address */
function unresolved(host: string, errors: NodeJS.ErrnoException[]): Error {
  // "No such record" says less than what went wrong with the other kind.
  const { code } = errors.find((error) => error.code !== 'ENODATA') ?? { code: 'ENODATA' };
  switch (code) {
    case 'ENOTFOUND':
      return new Error(`the name ${host} does not exist`);
    case 'ENODATA':
      return new Error(`the name ${host} has no address`);
    case 'ETIMEOUT':
      return new TimedOut(`no DNS server answered for ${host}`);
    default:
      return new Error(`the name ${host} cannot be looked up (${code})`);
  }
}

/** The head of an answer, and its body, which never rejects. */
interface Answer extends Omit<Reply, 'body'> {
  body: Promise<string>;
}

function ask(
  receiver: Receiver,
  addresses: Address[],
  { headers, body, timeoutMs }: Request,
  limits: ResponseLimits,
  signal: AbortSignal,
): Promise<Answer> {
  const { url, port } = receiver;
  const { request } = url.protocol === 'http:' ? http : https;
  const bytes = Buffer.from(body);
  const options: https.RequestOptions = {
    method: 'POST',
    port,
    defaultPort: url.protocol === 'http:' ? 80 : 443,
    // No pool: a connection lives as long as the check that was made for it. And no proxy, whatever the environment says.
    createConnection: () =>
      new BoundedSocket(connect(receiver, addresses, timeoutMs, limits.bytes), limits.bytes),
    headers: { ...headers, 'content-length': bytes.length, connection: 'close' },
    signal,
  };
  return new Promise((resolve, reject) => {
    const call = request(url, options);
    const refuse = (status = 0) =>
      reject(new Error(`the answer has the status ${status}, which ends no request`));
    call.on('error', reject);
    let interim = 0;
    call.on('information', () => {
      interim++;
      if (interim <= limits.interim) return;
      call.destroy(new Error(`more than ${limits.interim} interim responses (1xx) came before the answer`));
    });
    // Unless somebody listens, Node closes a connection that is to be upgraded, and the request ends without any event.
    call.on('upgrade', (response, socket) => {
      socket.destroy();
      refuse(response.statusCode);
    });
    call.on('close', () => reject(new Error('the connection was closed without an answer')));
    call.on('response', (response) => {
      // What was in the same piece as one interim response too many.
      if (call.destroyed) return;
      const { statusCode: status = 0 } = response;
      if (status < 200 || status > 599) {
        refuse(status);
        return;
      }
      resolve({ status, retryAfter: response.headers['retry-after'], body: beginning(response) });
    });
    call.end(bytes);
  });
}

/** Connects to the first of the addresses that answers. */
function connect(
  { url, host, port }: Receiver,
  addresses: Address[],
  timeoutMs: number,
  maxBytes: number,
): Socket {
  const lookup: LookupFunction = (_name, options, callback) => {
    const [first] = addresses as [Address];
    if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  };
  const options: TcpNetConnectOpts = {
    host,
    port,
    lookup,
    noDelay: true,
    // Addresses are tried one after the other. Node gives each but the last 250 ms: a receiver that is far away and has an
    // IPv6 address as well could never be reached where there is no IPv6.
    autoSelectFamilyAttemptTimeout: Math.max(MIN_CONNECT_MS, Math.floor(timeoutMs / (addresses.length + 1))),
  };
  const socket = net.connect(options);
  if (url.protocol === 'http:') return socket;
  return tls.connect({
    host,
    socket: new BoundedSocket(socket, maxBytes + HANDSHAKE_BYTES),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ALPNProtocols: ['http/1.1'],
    // A server of TLS 1.2 could ask for one handshake after the other.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
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
      // Nothing more is read, not even what has come.
      response.destroy();
    }
    response.on('data', (piece: Buffer) => {
      if (response.destroyed) return;
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
