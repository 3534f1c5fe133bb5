/** Same-origin guard, for an API without keys: any web page could make a browser send requests to it. */
import type { Config } from '../../shared/runtime/config.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { createHostCheck, hostnameOf, isLoopbackName } from '../../shared/runtime/request-host.ts';

/** @throws AppError `foreign_origin` for a request that a page of another origin made a browser send */
export type OriginGuard = (method: string, header: (name: string) => string | undefined) => void;

/**
 * Refuses requests that pages of other origins make browsers send. A simple POST needs no preflight, so the browser does not ask
 * first, and an API on loopback can also be reached under a foreign name that resolves to it (request-host.ts). The rules are
 * those of Go's http.CrossOriginProtection, and a check of `Host`. Programs send no `Origin`, and the `Host` that the user typed.
 *
 * @returns undefined when callers need keys
 */
export function createOriginGuard(
  { HOST, PUBLIC_URL }: Config,
  { hasKeys }: { hasKeys: boolean },
): OriginGuard | undefined {
  if (hasKeys) return undefined;
  const isAnswered = createHostCheck(HOST, PUBLIC_URL);
  const publicHost = PUBLIC_URL === undefined ? undefined : hostnameOf(PUBLIC_URL);
  return (method, header) => {
    const host = header('host');
    if (host !== undefined && isAnswered?.(host) === false) {
      throw new AppError(
        'foreign_origin',
        'without API keys, only requests to localhost, a loopback address or the host of PUBLIC_URL are answered: set PUBLIC_URL to the address that callers use, or create API keys',
      );
    }
    // Browsers send this header over TLS and to loopback, and no page can set it.
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
        'without API keys, requests from other web pages are refused: behind a proxy, set PUBLIC_URL to the address that callers use; for other pages, create API keys',
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

/** Whether the user followed a link on another page. */
const isNavigation = (method: string, mode: string | undefined): boolean =>
  (method === 'GET' || method === 'HEAD') && mode === 'navigate';
