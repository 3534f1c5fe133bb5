/** How `REDIS_URL` says where Redis is. */

/** What leads ioredis to the master that Sentinels name, in its own words. */
export interface SentinelTarget {
  sentinels: { host: string; port: number }[];
  /** Of the master, as the Sentinels call it. */
  name: string;
  db: number;
  username?: string;
  password?: string;
  sentinelUsername?: string;
  sentinelPassword?: string;
  tls?: object;
  sentinelTLS?: object;
  enableTLSForSentinelMode?: boolean;
}

/** scheme, user:password, hosts, name, db, query. No URL for `new URL()`: that takes one host. */
const SENTINEL_URL =
  /^(rediss?)\+sentinel:\/\/(?:([^/?#]*)@)?([^/?#@]+)\/([^/?#]+)(?:\/(\d*))?(?:\?([^#]*))?$/;
const HOST = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]+))(?::(\d+))?$/i;
const SENTINEL_PORT = 26_379;

/**
 * `redis://` and `rediss://` as ioredis takes them; the path of `unix:///path`; and Sentinels, in the form that other
 * clients know too: `redis+sentinel://[user:password@]host[:port],host[:port]…/name[/db]`. User and password are those of
 * Redis; the Sentinels' own are `?sentinel_username=…&sentinel_password=…`. `rediss+sentinel://`: TLS to both.
 *
 * @returns undefined when it is none of them
 */
export function parseRedisUrl(url: string): string | SentinelTarget | undefined {
  if (/^rediss?:\/\/./.test(url)) return url;
  if (/^unix:\/\/\/./.test(url)) return url.slice('unix://'.length);
  try {
    return parseSentinelUrl(url);
  } catch {
    // Percent signs that encode nothing.
    return undefined;
  }
}

/** The URL as it may be read in a log. */
export function withoutPasswords(url: string): string {
  return url.replace(/\/\/.*@/, '//…@').replace(/(password=)[^&]*/g, '$1…');
}

/** @throws URIError */
function parseSentinelUrl(url: string): SentinelTarget | undefined {
  const [, scheme, user = '', hosts = '', name = '', db = '0', search] = SENTINEL_URL.exec(url) ?? [];
  const sentinels = hosts.split(',').map(parseHost);
  if (scheme === undefined || !sentinels.every((each) => each !== undefined)) return undefined;
  const target: SentinelTarget = { sentinels, name: decodeURIComponent(name), db: Number(db) };
  const [username = '', ...password] = user.split(':');
  if (username !== '') target.username = decodeURIComponent(username);
  if (password.length > 0) target.password = decodeURIComponent(password.join(':'));
  for (const [key, value] of new URLSearchParams(search)) {
    if (key === 'sentinel_username') target.sentinelUsername = value;
    else if (key === 'sentinel_password') target.sentinelPassword = value;
    else return undefined;
  }
  return scheme === 'redis'
    ? target
    : { ...target, tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true };
}

function parseHost(text: string): { host: string; port: number } | undefined {
  const [, ipv6, name, digits] = HOST.exec(text) ?? [];
  const host = ipv6 ?? name;
  const port = Number(digits ?? SENTINEL_PORT);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
