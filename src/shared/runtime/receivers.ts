/**
 * Rules for the receivers of webhooks. A caller chooses the URL, and the request is made from inside Amulet's network: without
 * these rules a caller could reach services that only this network can reach (a metadata service, Redis, an admin page), and read
 * their answers in the delivery record.
 *
 * The URL is checked when a job is submitted and again before every attempt; the addresses behind its name at every
 * attempt, in the lookup of the very connection that is then made (safe-fetch.ts).
 */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import ipaddr from 'ipaddr.js';

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** An entry of WEBHOOK_ALLOW: a receiver that the operator trusts. */
export interface Allowed {
  /** Exact host name, or a suffix with its leading dot. */
  name?: string;
  range?: Range;
  /** Only this port; undefined: the ports of the policy. */
  port?: number;
}

export interface ReceiverPolicy {
  schemes: readonly string[];
  ports: readonly number[];
  allowed: readonly Allowed[];
}

const DEFAULT_PORTS: Record<string, number> = { 'https:': 443, 'http:': 80 };
export const MAX_URL_CHARS = 2048;
/** IPv6 addresses that the internet routes; all others are reserved. */
const GLOBAL_IPV6 = ipaddr.IPv6.parseCIDR('2000::/3');
/** Azure's platform service: looks like a public address, but only machines on Azure reach it. */
const AZURE_PLATFORM = '168.63.129.16';
const NAME = /^[a-z0-9_-]+(\.[a-z0-9_-]+)*$/;
const WRITTEN_NAME = /^[\p{L}\p{M}\p{N}._-]+$/u;

/** The policy from the settings. */
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
    throw new Error(`${entry}: ${port} is not a port number`);
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

/** Parses only full spellings: the library would also accept `10`, and read `::10.0.0.1` as 10.0.0.1. */
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
  // IPv4-mapped IPv6 addresses are treated as IPv4.
  return address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && bits >= 96
    ? [address.toIPv4Address(), bits - 96]
    : [address, bits];
}

/** The parts of a receiver's URL. */
export interface Receiver {
  url: URL;
  /** Without brackets or a final dot. */
  host: string;
  port: number;
  /** The operator trusts this name, whatever addresses it has. */
  trusted: boolean;
}

/**
 * Parses a URL and checks everything that needs no DNS lookup.
 * @returns the receiver, or why it is refused
 */
export function readReceiver(url: string, policy: ReceiverPolicy): Receiver | { problem: string } {
  if (url.length > MAX_URL_CHARS) return { problem: `is longer than ${MAX_URL_CHARS} characters` };
  // Redis's JSON decoder, which reads the URL from a job's event, fails at a lone surrogate: the job would never end.
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
  const trusted = policy.allowed.some(
    (entry) => entry.name !== undefined && isNamed(host, entry.name) && isOpen(entry, port, policy),
  );
  // Whether a name leads into an allowed range with its own port is known only after the lookup.
  const ofRange = policy.allowed.some((entry) => entry.range !== undefined && entry.port === port);
  if (!policy.ports.includes(port) && !trusted && !ofRange) {
    return { problem: `must not have the port ${port} (allowed: ${policy.ports.join(', ') || 'none'})` };
  }
  if (isIP(host) !== 0) {
    const problem = addressProblem(host, port, policy);
    if (problem !== undefined) return { problem: `leads to ${problem}` };
  } else if (!trusted && (host === 'localhost' || host.endsWith('.localhost'))) {
    return { problem: `leads to ${host}, which is this machine itself` };
  }
  return { url: parsed, host, port, trusted };
}

function isNamed(host: string, name: string): boolean {
  return name.startsWith('.') ? host.endsWith(name) : host === name;
}

/** Whether an entry allows this port; an entry without a port allows those of the policy. */
function isOpen({ port: only }: Allowed, port: number, { ports }: ReceiverPolicy): boolean {
  return only === undefined ? ports.includes(port) : only === port;
}

/**
 * Why an address is refused, worded to follow "leads to"; undefined when it is allowed.
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

/** The library's name for the kind of address, or `platform` or `isatap`, which the library does not know. */
function rangeOf(address: ipaddr.IPv4 | ipaddr.IPv6): string {
  if (address.toString() === AZURE_PLATFORM) return 'platform';
  return address instanceof ipaddr.IPv6 && isIsatap(address) ? 'isatap' : address.range();
}

/**
 * Whether the last 32 bits are an IPv4 address that a tunnel leads to (ISATAP, RFC 5214, section 6.1): the 32 bits before them
 * mark it, after any prefix, even a public one. Two bits, "universal" and "group", may be set or not.
 */
function isIsatap({ parts }: ipaddr.IPv6): boolean {
  return ((parts[4] ?? 0) & ~0x0300) === 0 && parts[5] === 0x5efe;
}

/** Kinds of addresses in words. */
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
