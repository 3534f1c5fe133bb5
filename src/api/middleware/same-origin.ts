/** Without keys a browser is a way in: what it can reach, any web page in it can send requests to. */
import type { Config } from '../../shared/runtime/config.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { createHostCheck, hostnameOf, isLoopbackName } from '../../shared/runtime/request-host.ts';

/** @throws AppError `foreign_origin` for a request that a page of another origin made a browser send */
export type OriginGuard = (method: string, header: (name: string) => string | undefined) => void;

/**
 * Refuses what pages of other origins make browsers send. A simple POST needs no preflight, so the browser asks nobody, and
 * an API on loopback is also reached under a name that was made to point there (request-host.ts). The rules are those of
 * Go's http.CrossOriginProtection and of `Host`. Programs send no `Origin`, and a `Host` as it was typed.
 *
 * @returns undefined where keys decide
 */
export function createOriginGuard({ HOST, PUBLIC_URL }: Config, hasKeys: boolean): OriginGuard | undefined {
  if (hasKeys) return undefined;
  const isAnswered = createHostCheck(HOST, PUBLIC_URL);
  const publicHost = PUBLIC_URL === undefined ? undefined : hostnameOf(PUBLIC_URL);
  return (method, header) => {
    const host = header('host');
    if (host !== undefined && isAnswered?.(host) === false) {
      throw new AppError(
        'foreign_origin',
        'without API keys, requests to localhost, loopback addresses and the host of PUBLIC_URL are answered, and this Host is another: set PUBLIC_URL to the address that callers use, or make API keys',
      );
    }
    // Browsers send it over TLS and to loopback, and no page can set it.
    const site = header('sec-fetch-site');
    if (site === 'same-origin' || site === 'none') return;
    const origin = header('origin');
    const foreign =
      origin === undefined
        ? site === 'cross-site' && !isNavigation(method, header('sec-fetch-mode'))
        : !isOurs(hostnameOf(origin), host);
    if (foreign)
      throw new AppError(
        'foreign_origin',
        'without API keys, requests from other web pages are not answered: behind a proxy, set PUBLIC_URL to the address that callers use; for pages elsewhere, make API keys',
      );
  };

  function isOurs(name: string | undefined, host: string | undefined): boolean {
    if (name === undefined) return false;
    return (
      isLoopbackName(name) ||
      name === publicHost ||
      (host !== undefined && name === hostnameOf(`http://${host}`))
    );
  }
}

/** A link on another page that was followed. */
const isNavigation = (method: string, mode: string | undefined): boolean =>
  (method === 'GET' || method === 'HEAD') && mode === 'navigate';
