/**
 * The `Host` of a request: the name under which its sender reached this process. A web page can reach a port on loopback under
 * a name of its own, whose DNS entry changes to 127.0.0.1 once the page is loaded (DNS rebinding). The browser then sees one
 * origin and lets the page read every answer, so a port without keys has to refuse names that others own.
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

/** Loopback addresses and names that browsers never look up (RFC 6761). */
export const isLoopbackName = (name: string): boolean => isLoopback(name) || name.endsWith('.localhost');

/**
 * Names that no public DNS answers: addresses, names of one label (`api`, a service in the network of a container) and
 * `.internal`, which ICANN keeps free (`host.docker.internal`). Only who runs the local network could point one elsewhere.
 */
const isPrivateName = (name: string): boolean =>
  isIP(name) !== 0 || !name.includes('.') || name.endsWith('.internal');

/**
 * Which names are answered on a port that browsers reach on loopback: loopback itself, the host of PUBLIC_URL and, where the
 * process listens elsewhere (in a container whose port is published on loopback), names of the private network.
 * @param listensOn the address as the settings have it
 * @returns a test of a `Host` header; undefined for a port that is published under names that are not known here
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
