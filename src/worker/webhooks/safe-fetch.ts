/**
 * A POST to an address that somebody else has chosen. The name is looked up once, every address that it has must be one
 * that webhooks may go to, and the connection is made to just those: there is no second look-up between check and connect
 * that could answer differently. Each request has a connection of its own; redirects are not followed.
 */
import dns from 'node:dns';
import http from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction, type TcpSocketConnectOpts } from 'node:net';
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
/** Each of several addresses has its share of the time, and no less than this. */
const MIN_CONNECT_MS = 250;
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
        ask(receiver, addresses, request, end.signal),
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
      return found.map(({ address, family }) => ({ address, family: family as 4 | 6 }));
    }
    const [v4, v6] = await Promise.allSettled([this.#resolver.resolve4(host), this.#resolver.resolve6(host)]);
    const addresses: Address[] = [
      ...(v4.status === 'fulfilled' ? v4.value : []).map((address) => ({ address, family: 4 as const })),
      ...(v6.status === 'fulfilled' ? v6.value : []).map((address) => ({ address, family: 6 as const })),
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
  { url, host }: Receiver,
  addresses: Address[],
  { headers, body, timeoutMs }: Request,
  signal: AbortSignal,
): Promise<Answer> {
  const lookup: LookupFunction = (_name, options, callback) => {
    const [first] = addresses as [Address];
    if (options.all === true) callback(null, addresses);
    else callback(null, first.address, first.family);
  };
  const { request } = url.protocol === 'http:' ? http : https;
  const bytes = Buffer.from(body);
  // What Node's request() hands on to connect() is not in its own type.
  const options: https.RequestOptions & Pick<TcpSocketConnectOpts, 'autoSelectFamilyAttemptTimeout'> = {
    method: 'POST',
    // No pool: a connection lives as long as the check that was made for it. And no proxy, whatever the environment says.
    agent: false,
    lookup,
    // Addresses are tried one after the other. Node gives each but the last 250 ms: a receiver that is far away and has an
    // IPv6 address as well could never be reached where there is no IPv6.
    autoSelectFamilyAttemptTimeout: Math.max(MIN_CONNECT_MS, Math.floor(timeoutMs / (addresses.length + 1))),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    headers: { ...headers, 'content-length': bytes.length, connection: 'close' },
    signal,
  };
  return new Promise((resolve, reject) => {
    const call = request(url, options);
    const refuse = (status = 0) =>
      reject(new Error(`the answer has the status ${status}, which ends no request`));
    call.on('error', reject);
    // Unless somebody listens, Node closes a connection that is to be upgraded, and the request ends without any event.
    call.on('upgrade', (response, socket) => {
      socket.destroy();
      refuse(response.statusCode);
    });
    call.on('close', () => reject(new Error('the connection was closed without an answer')));
    call.on('response', (response) => {
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
