/**
 * GET requests for a file that the user names: follows redirects, and gives up on a server that is silent. The API key of the
 * server is not known here. Over Node's global agents, which use a proxy where NODE_USE_ENV_PROXY=1 asks for it.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { isIP } from 'node:net';
import { urlToHttpOptions } from 'node:url';
import { ConnectionError } from '../../../client/errors.ts';
import { connectionError } from '../../../client/exchange.ts';
import { withoutSecrets } from './addresses.ts';
import { isPrivate, lookupPublic, PRIVATE_TARGET, privateTarget } from './private-addresses.ts';
import { piecesOf, SILENCE_MS } from './pieces.ts';
import { Refusal } from './remote-file.ts';

const MAX_REDIRECTS = 10;
/** The body of a redirect up to this size is read, so that its connection can be used again. */
const SMALL_BODY_BYTES = 64 * 1024;

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

export interface HttpAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: AsyncIterable<Uint8Array>;
  /** Closes the connection, whose body is not read any further. */
  close: () => void;
}

/**
 * @param address with a user name and password, if the server asks for them; other servers are not sent them
 * @throws ConnectionError, Refusal, or the signal's reason
 */
export async function httpGet(
  address: URL,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  let url = address;
  /** Set once a server of the internet has redirected the request. */
  let publicOnly = false;
  for (let redirects = 0; ; redirects++) {
    const own = url.origin === address.origin ? basicAuthorization(address) : {};
    const answer = await exchange(url, { headers: { ...headers, ...own }, publicOnly, signal });
    const { statusCode: status = 0, headers: answered } = answer;
    const { location } = answered;
    if (!REDIRECTS.has(status) || location === undefined) {
      const target = url;
      const body = piecesOf(answer, signal, (error) => asConnectionError(error as Error, target));
      return { status, headers: answered, body, close: () => void answer.destroy() };
    }
    if (redirects === MAX_REDIRECTS)
      throw new Refusal(`${withoutSecrets(address.href)} redirects more than ${MAX_REDIRECTS} times`);
    publicOnly ||= !isPrivate(answer.socket.remoteAddress ?? '127.0.0.1');
    url = redirectTarget(url, location, publicOnly);
    if (Number(answered['content-length'] ?? Infinity) <= SMALL_BODY_BYTES) answer.resume();
    else answer.destroy();
  }
}

function basicAuthorization({ username, password }: URL): Record<string, string> {
  if (username + password === '') return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { Authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** @throws Refusal */
function redirectTarget(from: URL, location: string, publicOnly: boolean): URL {
  const source = withoutSecrets(from.href);
  const url = URL.parse(location, from.href);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new Refusal(
      `${source} redirects to ${withoutSecrets(location).slice(0, 200)}, which is no web address`,
    );
  }
  if (from.protocol === 'https:' && url.protocol === 'http:') {
    throw new Refusal(
      `${source} redirects to ${withoutSecrets(url.href)}, without encryption: if you trust it, name that address instead`,
    );
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (publicOnly && isIP(host) !== 0 && isPrivate(host)) throw new Refusal(privateTarget(url.host));
  // A server may not choose the password for another one.
  Object.assign(url, { username: '', password: '', hash: '' });
  return url;
}

interface Exchange {
  headers: Record<string, string>;
  publicOnly: boolean;
  signal: AbortSignal;
}

function exchange(url: URL, { headers, publicOnly, signal }: Exchange): Promise<http.IncomingMessage> {
  signal.throwIfAborted();
  return new Promise<http.IncomingMessage>((resolve, reject) => {
    const { request: start } = url.protocol === 'https:' ? https : http;
    // Node would send the user name and password of a URL by itself.
    const { auth: _, ...address } = urlToHttpOptions(url);
    const request = start({
      ...address,
      headers: { 'User-Agent': 'amulet', Accept: '*/*', ...headers },
      ...(publicOnly && { lookup: lookupPublic }),
      signal,
    });
    request.setTimeout(SILENCE_MS, () => request.destroy(new ConnectionError('ETIMEDOUT', 'no answer')));
    request.once('response', (answer) => {
      // From here on piecesOf() watches.
      request.setTimeout(0);
      resolve(answer);
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason as Error);
      else if (error.code === PRIVATE_TARGET) reject(new Refusal(error.message));
      else reject(asConnectionError(error, url));
    });
    request.end();
  });
}

/** Names the host: the redirects of a request may lead to several. */
function asConnectionError(error: NodeJS.ErrnoException, { host }: URL): ConnectionError {
  const known = error instanceof ConnectionError ? error : connectionError(error.code ?? 'ECONNRESET', error);
  const message = known.code === 'HPE_HEADER_OVERFLOW' ? 'its headers are larger than 16 KB' : known.message;
  return new ConnectionError(known.code, `${host}: ${message}`, error);
}
