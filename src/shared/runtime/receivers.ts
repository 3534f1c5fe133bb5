/**
 * Which receivers a webhook may have. Whoever submits a job chooses the URL, and the request is made from inside the
 * network that Amulet runs in: without these rules a caller could reach what only this network can (a metadata service,
 * Redis, a neighbour's admin page), and learn from the delivery record what it answered.
 *
 * The URL is checked when a job is submitted and again before every attempt; the addresses behind its name at every
 * attempt, in the lookup of the very connection that is then made (safe-fetch.ts).
 */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import ipaddr from 'ipaddr.js';

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** A receiver that the operator vouches for. */
export interface Allowed {
  /** Exact name, or the end of one with its leading dot. */
  name?: string;
  range?: Range;
  /** Only on this port; undefined: on those of the policy. */
  port?: number;
}

export interface ReceiverPolicy {
  schemes: readonly string[];
  ports: readonly number[];
  allowed: readonly Allowed[];
}

const DEFAULT_PORTS: Record<string, number> = { 'https:': 443, 'http:': 80 };
export const MAX_URL_CHARS = 2048;
/** IPv6 addresses that the internet routes; everything else has a purpose of its own, or none yet. */
const GLOBAL_IPV6 = ipaddr.IPv6.parseCIDR('2000::/3');
/** Every machine on Azure reaches its platform at this address, and nobody else can: public in its form only. */
const AZURE_PLATFORM = '168.63.129.16';
const NAME = /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/;
const WRITTEN_NAME = /^[\p{L}\p{M}\p{N}._-]+$/u;

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
  const [, start = host, bits] = /^(.*?)\/(.*)$/.exec(host) ?? [];
  const address = parseAddress(start);
  if (address) {
    const range = toRange(address, bits);
    if (!range) throw new Error(`${entry} is not a range of addresses`);
    return { range, ...onPort };
  }
  const ofAll = host.startsWith('*.');
  const written = ofAll ? host.slice(2) : host;
  // As the URL parser writes them: in lower case, and international ones in ASCII.
  const name = WRITTEN_NAME.test(written) ? domainToASCII(written).replace(/\.$/, '') : '';
  if (!NAME.test(name) || isIP(name) !== 0) throw new Error(`${entry} is neither a name nor an address`);
  return { name: ofAll ? `.${name}` : name, ...onPort };
}

/** An address in its full spelling: the library would also read `10`, and `::10.0.0.1` as if it were 10.0.0.1. */
function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  if (isIP(text) === 4) return ipaddr.IPv4.parse(text);
  const url = `http://[${text}]`;
  return isIP(text) === 6 && URL.canParse(url)
    ? ipaddr.IPv6.parse(new URL(url).hostname.slice(1, -1))
    : undefined;
}

/**
 * @param written how many bits are fixed; undefined: all of them
 * @returns undefined when there is no such range
 */
function toRange(address: ipaddr.IPv4 | ipaddr.IPv6, written: string | undefined): Range | undefined {
  const all = address.kind() === 'ipv4' ? 32 : 128;
  const bits = Number(written ?? all);
  if (!/^\d+$/.test(written ?? '0') || bits > all) return undefined;
  // Addresses that carry IPv4 ones are looked at as those.
  return address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && bits >= 96
    ? [address.toIPv4Address(), bits - 96]
    : [address, bits];
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
  // Redis's own JSON decoder, which reads it from the event of a job, fails at one, and no job would end.
  if (!url.isWellFormed()) return { problem: 'contains a lone surrogate, so it is not valid Unicode' };
  if (!URL.canParse(url)) return { problem: 'is not an absolute URL' };
  const parsed = new URL(url);
  const { protocol, username, password } = parsed;
  if (!policy.schemes.includes(protocol.slice(0, -1))) {
    return { problem: `must begin with ${policy.schemes.map((scheme) => `${scheme}://`).join(' or ')}` };
  }
  if (username !== '' || password !== '') return { problem: 'must not contain a user name or password' };
  // The parser has already undone decimal, octal, hexadecimal and shortened spellings of IPv4.
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.+$/, '');
  const port = parsed.port === '' ? (DEFAULT_PORTS[protocol] ?? 0) : Number(parsed.port);
  const vouched = policy.allowed.some(
    (entry) => entry.name !== undefined && isNamed(host, entry.name) && isOpen(entry, port, policy),
  );
  // Whether a name leads into a range that has a port of its own shows when it is looked up.
  const ofRange = policy.allowed.some((entry) => entry.range !== undefined && entry.port === port);
  if (!policy.ports.includes(port) && !vouched && !ofRange) {
    return { problem: `must not have the port ${port} (allowed: ${policy.ports.join(', ') || 'none'})` };
  }
  if (isIP(host) !== 0) {
    const problem = addressProblem(host, port, policy);
    if (problem !== undefined) return { problem: `leads to ${problem}` };
  } else if (!vouched && (host === 'localhost' || host.endsWith('.localhost'))) {
    return { problem: `leads to ${host}, which is this machine itself` };
  }
  return { url: parsed, host, port, vouched };
}

function isNamed(host: string, name: string): boolean {
  return name.startsWith('.') ? host.endsWith(name) : host === name;
}

/** Whether an entry of the list is about this port: without one of its own it opens those of the policy. */
function isOpen({ port: only }: Allowed, port: number, { ports }: ReceiverPolicy): boolean {
  return only === undefined ? ports.includes(port) : only === port;
}

/**
 * Why no webhook may go to an address, as it reads after "leads to"; undefined = it may.
 * @param address IPv4 or IPv6
 */
export function addressProblem(address: string, port: number, policy: ReceiverPolicy): string | undefined {
  const written = parseAddress(address);
  if (!written) return `${address}, which is not an address`;
  const parsed =
    written instanceof ipaddr.IPv6 && written.isIPv4MappedAddress() ? written.toIPv4Address() : written;
  const allowed = policy.allowed.some(
    (entry) =>
      entry.range !== undefined &&
      isOpen(entry, port, policy) &&
      entry.range[0].kind() === parsed.kind() &&
      parsed.match(entry.range),
  );
  if (allowed) return undefined;
  const shown = parsed.toString();
  if (!policy.ports.includes(port)) return `${shown}, where port ${port} is not allowed`;
  const range = rangeOf(parsed);
  const routed = range === 'unicast' && (parsed.kind() === 'ipv4' || parsed.match(GLOBAL_IPV6));
  return routed ? undefined : `${shown}, which is not a public address (${RANGES[range] ?? 'reserved'})`;
}

/** The library's name for what kind of address it is, or `platform` or `isatap`, which it does not know. */
function rangeOf(address: ipaddr.IPv4 | ipaddr.IPv6): string {
  if (address.toString() === AZURE_PLATFORM) return 'platform';
  return address instanceof ipaddr.IPv6 && isIsatap(address) ? 'isatap' : address.range();
}

/**
 * Whether the last 32 bits are an IPv4 address that a tunnel leads to (ISATAP, RFC 5214, section 6.1): what precedes them says
 * so, behind any prefix, public ones too. Two bits, "universal" and "group", may be set or not.
 */
function isIsatap({ parts }: ipaddr.IPv6): boolean {
  return ((parts[4] ?? 0) & ~0x0300) === 0 && parts[5] === 0x5efe;
}

/** What the ranges are, in words. */
const RANGES: Record<string, string> = {
  unicast: 'not routed',
  loopback: 'this machine itself',
  private: 'private',
  uniqueLocal: 'private',
  deprecatedSiteLocal: 'private',
  carrierGradeNat: 'private to a provider',
  linkLocal: 'link-local, where metadata services are',
  platform: 'the platform of Azure',
  multicast: 'multicast',
  broadcast: 'broadcast',
  unspecified: 'no address',
  rfc6052: 'IPv4 in disguise',
  rfc6145: 'IPv4 in disguise',
  '6to4': 'IPv4 in disguise',
  teredo: 'IPv4 in disguise',
  isatap: 'IPv4 in disguise',
};
