/** Loopback without keys: other machines cannot reach it, but any web page in a browser on this one can. */
import { isLoopback, type Config } from '../../shared/config.ts';
import { AppError } from '../../shared/errors.ts';

/**
 * Refuses what pages of other origins make a browser send: a simple POST (it needs no leave of ours), and, by a DNS name of
 * theirs that suddenly points to 127.0.0.1 (DNS rebinding), everything else. Programs send no `Origin`, and a `Host` as it
 * was typed.
 *
 * @returns what throws AppError `foreign_origin` for such a request; undefined where keys or `AUTH=none` decide
 */
export function createOriginGuard(
  { AUTH, PUBLIC_URL }: Config,
  hasKeys: boolean,
): ((header: (name: string) => string | undefined) => void) | undefined {
  if (hasKeys || AUTH !== 'loopback') return undefined;
  const publicHost = PUBLIC_URL === undefined ? undefined : hostnameOf(PUBLIC_URL);
  const isOurs = (url: string) => {
    const hostname = hostnameOf(url);
    return hostname !== undefined && (isLoopback(hostname) || hostname === publicHost);
  };
  return (header) => {
    const host = header('host');
    if (host !== undefined && !isOurs(`http://${host}`)) {
      throw new AppError(
        'foreign_origin',
        'without API keys only localhost, loopback addresses and the host of PUBLIC_URL are answered: this Host is none of them',
      );
    }
    const origin = header('origin');
    if (origin !== undefined && !isOurs(origin)) {
      throw new AppError(
        'foreign_origin',
        'without API keys, requests from other web pages are not answered',
      );
    }
  };
}

/** As browsers compare it; undefined when it is no URL, such as the origin `null` of a sandboxed page. */
function hostnameOf(url: string): string | undefined {
  return URL.parse(url)?.hostname.replace(/^\[(.*)\]$/, '$1');
}
