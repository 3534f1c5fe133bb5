/** Parses `REDIS_URL`: a single server, Sentinels or a cluster. */

/** ioredis options for the master that Sentinels name. */
export interface SentinelTarget {
  sentinels: Address[];
  /** Name of the master. */
  name: string;
  db: number;
  username?: string;
  password?: string;
  sentinelUsername?: string;
  sentinelPassword?: string;
}

/** Options of cluster-connector.ts. */
export interface ClusterTarget {
  clusterNodes: Address[];
  username?: string;
  password?: string;
}

interface Address {
  host: string;
  port: number;
}

/** scheme, user:password, hosts, name, db, query. Not parsed by `new URL()`, which takes one host. */
const SENTINEL_URL = /^rediss?\+sentinel:\/\/(?:([^/?#]*)@)?([^/?#@]+)\/([^/?#]+)(?:\/(\d*))?(?:\?([^#]*))?$/;
/** scheme, user:password, hosts. A cluster has one database. */
const CLUSTER_URL = /^rediss?\+cluster:\/\/(?:([^/?#]*)@)?([^/?#@]+)(?:\/0?)?$/;
const HOST = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+))(?::(\d+))?$/i;
const SENTINEL_PORT = 26_379;
const REDIS_PORT = 6379;

/**
 * `redis://` and `rediss://` as ioredis takes them; the path of `unix:///path`; and Sentinels, in the form that other
 * clients know too: `redis+sentinel://[user:password@]host[:port],host[:port]…/name[/db]`. User and password are those of
 * Redis; the Sentinels' own are `?sentinel_username=…&sentinel_password=…`. A cluster:
 * `redis+cluster://[user:password@]host[:port],host[:port]…`. With `rediss`: TLS, to Sentinels as well.
 *
 * @returns undefined when the URL has none of these forms
 */
export function parseRedisUrl(url: string): string | SentinelTarget | ClusterTarget | undefined {
  if (/^rediss?:\/\/./.test(url)) return url;
  if (/^unix:\/\/\/./.test(url)) return url.slice('unix://'.length);
  try {
    return parseSentinelUrl(url) ?? parseClusterUrl(url);
  } catch {
    // Malformed percent-encoding.
    return undefined;
  }
}

/** Whether the connection uses TLS. */
export function isTls(url: string): boolean {
  return url.startsWith('rediss');
}

/** The URL for logs. */
export function withoutPasswords(url: string): string {
  return url.replace(/\/\/.*@/, '//…@').replace(/(password=)[^&]*/g, '$1…');
}

/** @throws URIError */
function parseSentinelUrl(url: string): SentinelTarget | undefined {
  const [, user, hosts, name = '', db = '0', search] = SENTINEL_URL.exec(url) ?? [];
  const sentinels = parseHosts(hosts, SENTINEL_PORT);
  if (!sentinels) return undefined;
  const target: SentinelTarget = {
    sentinels,
    name: decodeURIComponent(name),
    db: Number(db),
    ...parseUser(user),
  };
  for (const [key, value] of new URLSearchParams(search)) {
    if (key === 'sentinel_username') target.sentinelUsername = value;
    else if (key === 'sentinel_password') target.sentinelPassword = value;
    else return undefined;
  }
  return target;
}

/** @throws URIError */
function parseClusterUrl(url: string): ClusterTarget | undefined {
  const [, user, hosts] = CLUSTER_URL.exec(url) ?? [];
  const clusterNodes = parseHosts(hosts, REDIS_PORT);
  return clusterNodes && { clusterNodes, ...parseUser(user) };
}

/** @throws URIError */
function parseUser(text = ''): { username?: string; password?: string } {
  const [username = '', ...password] = text.split(':');
  return {
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password.length > 0 && { password: decodeURIComponent(password.join(':')) }),
  };
}

function parseHosts(text: string | undefined, defaultPort: number): Address[] | undefined {
  const hosts = text?.split(',').map((host) => parseHost(host, defaultPort));
  return hosts?.every((each) => each !== undefined) ? hosts : undefined;
}

function parseHost(text: string, defaultPort: number): Address | undefined {
  const [, ipv6, name, digits] = HOST.exec(text) ?? [];
  const host = ipv6 ?? name;
  const port = Number(digits ?? defaultPort);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
