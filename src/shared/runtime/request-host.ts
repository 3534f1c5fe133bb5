/**
 * Checks the `Host` of a request against DNS rebinding: a web page can reach a port on loopback under its own host name, whose DNS
 * entry changes to 127.0.0.1 once the page is loaded. The browser then sees one origin and lets the page read every answer, so a
 * port without keys must refuse names that others own.
 */
import { isIP } from 'node:net';

/** @param host a name or an address without brackets, in lower case */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** The host of a URL as browsers compare it, without brackets and the dot of the root; undefined when it is not a URL. */
export function hostnameOf(url: string): string | undefined {
  return URL.parse(url)
    ?.hostname.replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
}

/** Loopback addresses, and names that browsers never look up (RFC 6761). */
export const isLoopbackName = (name: string): boolean => isLoopback(name) || name.endsWith('.localhost');

/**
 * Names that no public DNS answers: addresses, names of one label (`api`, a service in the network of a container) and
 * `.internal`, which ICANN keeps free (`host.docker.internal`). Only the operator of the local network could point one elsewhere.
 */
const isPrivateName = (name: string): boolean =>
  isIP(name) !== 0 || !name.includes('.') || name.endsWith('.internal');

/**
 * Decides which names a port answers that browsers reach on loopback: loopback itself, the host of PUBLIC_URL and, where the
 * process listens elsewhere (in a container whose port is published on loopback), names of the private network.
 * @param listensOn the address from the settings
 * @returns a check of a `Host` header; undefined for a port that may be published under any name
 */
export function createHostCheck(
  listensOn: string,
  publicUrl: string | undefined,
): ((host: string) => boolean) | undefined {
  const publicHost = publicUrl === undefined ? undefined : hostnameOf(publicUrl);
  const isLocal = isLoopback(listensOn);
  if (!isLocal && (publicHost === undefined || !isLoopbackName(publicHost))) return undefined;
  return (host) => {
    const name = hostnameOf(`http://${host}`);
    if (name === undefined) return false;
    return isLoopbackName(name) || name === publicHost || (!isLocal && isPrivateName(name));
  };
}
