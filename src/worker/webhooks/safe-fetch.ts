/**
 * Sends a POST request to a URL that a caller has chosen. The name is looked up once, every address of it must be allowed for
 * webhooks, and the connection is made to these addresses only: no second look-up between check and connect could answer
 * differently. Each request has its own connection; redirects are not followed.
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

/** Webhooks may not be sent to this address. */
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
  /** Interrupts the request, which then rejects with the signal's reason. */
  signal: AbortSignal;
}

/** Bytes of the response body that are kept. */
const MAX_REPLY_BYTES = 2048;
/** Longest time that the body is read: the status decides the outcome, so nothing depends on the body. */
const REPLY_MS = 1000;
/**
 * Bytes of TLS itself, in addition to the response: certificates (OpenSSL accepts up to 100 KB), and a few bytes a record.
 * Without a limit a receiver could send new keys (KeyUpdate) until the attempt ends.
 */
const HANDSHAKE_BYTES = 64 * 1024;
/** Shortest time to connect to one of several addresses; otherwise each gets an equal share. */
const MIN_CONNECT_MS = 250;
/**
 * Addresses of each kind (IPv4, IPv6) that are tried. A DNS answer may have 4,000, and one delivery would connect to all of them.
 */
const MAX_ADDRESSES = 8;
const LOOKUP_TIMEOUT_MS = 3000;
const LOOKUP_TRIES = 2;

interface Address {
  address: string;
  family: 4 | 6;
}

/** Limits on what a receiver may send. */
export interface ResponseLimits {
  /** Bytes of interim responses, headers and body together. */
  bytes: number;
  /** Number of interim responses (1xx), which come before the final one. */
  interim: number;
}

export class SafeFetch {
  readonly #policy: ReceiverPolicy;
  readonly #limits: ResponseLimits;
  readonly #resolver: dns.promises.Resolver;

  /** @param servers DNS servers; empty: the system's */
  constructor(policy: ReceiverPolicy, servers: readonly string[], limits: ResponseLimits) {
    this.#policy = policy;
    this.#limits = limits;
    // Not dns.lookup: it occupies one of four threads while it waits, so that a few names whose servers do not answer would
    // block all deliveries.
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
    // Not AbortSignal.any and .timeout: their signals stay in memory until the timeout.
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
      // The status has decided the outcome; the body no longer matters.
      return { status, retryAfter, body: await body };
    } finally {
      clearTimeout(timer);
      given.removeEventListener('abort', giveUp);
      // Closes the connection.
      end.abort();
    }
  }

  /** The addresses to connect to, all of them allowed. */
  async #addresses({ host, port, trusted }: Receiver): Promise<Address[]> {
    if (isIP(host) !== 0) return [{ address: host, family: isIP(host) as 4 | 6 }];
    if (trusted) {
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

/** The error for a name without an address. @param errors of the look-ups, one for each kind of address */
function unresolved(host: string, errors: NodeJS.ErrnoException[]): Error {
  // ENODATA (no such record) says less than the error of the other kind of address.
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

/** A response with the promise of its body, which never rejects. */
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
    // No pool: a connection must not outlive the check of its address. And no proxy, whatever the environment says.
    createConnection: () =>
      new BoundedSocket(connect(receiver, addresses, timeoutMs, limits.bytes), limits.bytes),
    headers: { ...headers, 'content-length': bytes.length, connection: 'close' },
    signal,
  };
  return new Promise((resolve, reject) => {
    const call = request(url, options);
    const refuse = (status = 0) => reject(new Error(`unexpected status ${status}`));
    call.on('error', reject);
    let interim = 0;
    call.on('information', () => {
      interim++;
      if (interim <= limits.interim) return;
      call.destroy(new Error(`more than ${limits.interim} interim responses (1xx) came before the answer`));
    });
    // Without a listener, Node closes a connection that is upgraded, and the request ends without an event.
    call.on('upgrade', (response, socket) => {
      socket.destroy();
      refuse(response.statusCode);
    });
    call.on('close', () => reject(new Error('the connection was closed without an answer')));
    call.on('response', (response) => {
      // The response came in the same piece as one interim response too many.
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

/** Connects to the first address that answers. */
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
    // Addresses are tried one after the other. Node's default is 250 ms each, except for the last: from a network without
    // IPv6, a distant receiver with both IPv4 and IPv6 could never be reached.
    autoSelectFamilyAttemptTimeout: Math.max(MIN_CONNECT_MS, Math.floor(timeoutMs / (addresses.length + 1))),
  };
  const socket = net.connect(options);
  if (url.protocol === 'http:') return socket;
  return tls.connect({
    host,
    socket: new BoundedSocket(socket, maxBytes + HANDSHAKE_BYTES),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ALPNProtocols: ['http/1.1'],
    // A TLS 1.2 server could request one handshake after the other.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  });
}

/** The first bytes of a response body, as text; waits at most REPLY_MS for them. */
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
      // Reads nothing more, not even bytes that have arrived.
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
