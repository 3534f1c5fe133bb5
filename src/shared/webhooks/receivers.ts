/**
 * Which receivers a webhook may have. Whoever submits a job chooses the URL, and the request is made from inside the
 * network that Amulet runs in: without these rules a caller could reach what only this network can (a metadata service,
 * Redis, a neighbour's admin page), and learn from the delivery record what it answered.
 *
 * The URL is checked when a job is submitted and again before every attempt; the addresses behind its name at every
 * attempt, in the lookup of the very connection that is then made (safe-fetch.ts).
 */
import ipaddr from 'ipaddr.js';

/** A receiver that the operator vouches for. */
export interface Allowed {
  /** Exact name, or the end of one with its leading dot. */
  name?: string;
  range?: [ipaddr.IPv4 | ipaddr.IPv6, number];
  /** Only on this port; undefined: on those of the policy. */
  port?: number;
}

export interface ReceiverPolicy {
  schemes: readonly string[];
  ports: readonly number[];
  allowed: readonly Allowed[];
}

const DEFAULT_PORTS: Record<string, number> = { 'https:': 443, 'http:': 80 };
const MAX_URL_CHARS = 2048;
/** IPv6 addresses that the internet routes; everything else has a purpose of its own, or none yet. */
const GLOBAL_IPV6 = ipaddr.IPv6.parseCIDR('2000::/3');

/** The rules that the settings make. */
export function receiverPolicy(config: {
  WEBHOOK_SCHEMES: readonly string[];
  WEBHOOK_PORTS: readonly number[];
  WEBHOOK_ALLOW: readonly Allowed[];
}): ReceiverPolicy {
  return { schemes: config.WEBHOOK_SCHEMES, ports: config.WEBHOOK_PORTS, allowed: config.WEBHOOK_ALLOW };
}

/**
 * An entry of WEBHOOK_ALLOW: `name`, `*.name`, `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`; with a port `name:8080`, `[::1]:8080`.
 * @throws Error that says what is wrong with it
 */
export function parseAllowed(entry: string): Allowed {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(entry);
  const plain = /^([^:[\]]+)(?::(\d+))?$/.exec(entry);
  // An IPv6 address or range without brackets has no port.
  const [, host = '', port] = bracketed ?? plain ?? [entry, entry];
  const portNumber = port === undefined ? undefined : Number(port);
  if (portNumber !== undefined && (portNumber < 1 || portNumber > 65_535)) {
    throw new Error(`${entry}: there is no port ${port}`);
  }
  const onPort = portNumber === undefined ? {} : { port: portNumber };
  if (host.includes('/')) {
    if (!ipaddr.isValidCIDR(host)) throw new Error(`${entry} is not a range of addresses`);
    return { range: ipaddr.parseCIDR(host), ...onPort };
  }
  if (ipaddr.isValid(host)) {
    const address = ipaddr.process(host);
    return { range: [address, address.kind() === 'ipv4' ? 32 : 128], ...onPort };
  }
  const name = host.toLowerCase().replace(/^\*/, '');
  if (!/^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$/.test(name))
    throw new Error(`${entry} is neither a name nor an address`);
  return { name, ...onPort };
}

/** A receiver's URL taken apart. */
export interface Receiver {
  url: URL;
  /** Without brackets or a final dot. */
  host: string;
  port: number;
  /** The operator vouches for this name, wherever it leads. */
  vouched: boolean;
}

/**
 * Takes a URL apart and checks everything that it shows by itself.
 * @returns the receiver, or why it is none
 */
export function readReceiver(url: string, policy: ReceiverPolicy): Receiver | { problem: string } {
  if (url.length > MAX_URL_CHARS) return { problem: `is longer than ${MAX_URL_CHARS} characters` };
  if (!URL.canParse(url)) return { problem: 'is not an absolute URL' };
  const parsed = new URL(url);
  const { protocol, username, password } = parsed;
  if (!policy.schemes.includes(protocol.slice(0, -1))) {
    return { problem: `must begin with ${policy.schemes.map((scheme) => `${scheme}://`).join(' or ')}` };
  }
  if (username !== '' || password !== '') return { problem: 'must not contain a user name or password' };
  // The parser has already undone decimal, octal, hexadecimal and shortened spellings of IPv4.
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
  const port = parsed.port === '' ? (DEFAULT_PORTS[protocol] ?? 0) : Number(parsed.port);
  const entries = policy.allowed.filter((entry) => entry.name !== undefined && isNamed(host, entry.name));
  const vouched = entries.some((entry) => entry.port === undefined || entry.port === port);
  // Whether a name leads into a range that has a port of its own shows when it is looked up.
  const ofRange = policy.allowed.some((entry) => entry.port === port && entry.range !== undefined);
  const ofName = entries.some((entry) => entry.port === port);
  if (!policy.ports.includes(port) && !ofName && !ofRange) {
    return { problem: `must not have the port ${port} (allowed: ${policy.ports.join(', ')})` };
  }
  if (ipaddr.isValid(host)) {
    const problem = addressProblem(host, port, policy);
    if (problem !== undefined) return { problem };
  } else if (!vouched && (host === 'localhost' || host.endsWith('.localhost'))) {
    return { problem: `${host} is this machine itself` };
  }
  return { url: parsed, host, port, vouched };
}

function isNamed(host: string, name: string): boolean {
  return name.startsWith('.') ? host.endsWith(name) : host === name;
}

/**
 * Why no webhook may go to an address; undefined = it may.
 * @param address IPv4 or IPv6
 */
export function addressProblem(address: string, port: number, policy: ReceiverPolicy): string | undefined {
  const parsed = ipaddr.process(address);
  const allowed = policy.allowed.some(
    ({ range, port: only }) =>
      range !== undefined &&
      (only === undefined || only === port) &&
      range[0].kind() === parsed.kind() &&
      parsed.match(range),
  );
  if (allowed) return undefined;
  if (!policy.ports.includes(port)) return `${parsed.toString()}, where port ${port} is not allowed`;
  const range = parsed.range();
  const routed = range === 'unicast' && (parsed.kind() === 'ipv4' || parsed.match(GLOBAL_IPV6));
  return routed ? undefined : `${parsed.toString()} is not a public address (${RANGES[range] ?? range})`;
}

/** What the ranges are, in words. */
const RANGES: Record<string, string> = {
  unicast: 'not routed',
  loopback: 'this machine itself',
  linkLocal: 'link-local, where metadata services are',
  uniqueLocal: 'private',
  carrierGradeNat: 'private to a provider',
  unspecified: 'no address',
  rfc6052: 'IPv4 in disguise',
  '6to4': 'IPv4 in disguise',
  teredo: 'IPv4 in disguise',
};
