/** Settings of webhooks. */
import { Resolver } from 'node:dns';
import { z } from 'zod';
import { parseAllowed } from '../receivers.ts';
import { isSecret } from '../webhook-secret.ts';
import { setting, text, int, list, MINUTES_MS, DAY_S, plainUrl } from './schemas.ts';

export const WEBHOOKS = {
  PUBLIC_URL: setting(
    plainUrl,
    '',
    'URL of the API for callers and for receivers of webhooks. Unset: `PUBLIC_URL_DEFAULT`, else `http://HOST:PORT`. Without keys, an API on loopback answers only requests for this host and for loopback names.',
  ),
  PUBLIC_URL_DEFAULT: setting(
    plainUrl,
    '',
    'Value of `PUBLIC_URL` where that is unset: `docker-compose.yml` derives it from the published port.',
  ),
  WEBHOOK_SECRET: setting(
    list.refine((secrets) => secrets.every(isSecret), 'must be `whsec_` and 24 to 64 bytes as base64'),
    '',
    'Secrets that sign webhooks while no API key is set, comma-separated: the new one first, then those being replaced. Unset: webhooks are refused; `npm start` creates a secret.',
  ),
  WEBHOOK_SECRET_OVERLAP_S: setting(
    int(0, 30 * DAY_S),
    DAY_S,
    "Seconds for which an API key's replaced secret still signs beside the new one.",
  ),
  WEBHOOK_RETRY_S: setting(
    list.pipe(
      z
        .array(
          z
            .string()
            .regex(/^\d+(\.\d+)?$/, 'must be numbers of seconds')
            .transform(Number)
            .pipe(z.number().max(30 * DAY_S)),
        )
        .max(100, 'must be at most 100 numbers'),
    ),
    '5,300,1800,7200,18000,36000,50400,72000,86400',
    'Seconds from each failed attempt of a delivery to the next, ± 20 %.',
  ),
  WEBHOOK_TIMEOUT_MS: setting(
    int(100, 2 * MINUTES_MS),
    15_000,
    'Longest attempt of a delivery, in milliseconds.',
  ),
  WEBHOOK_TTL_S: setting(int(1, 365 * DAY_S), 7 * DAY_S, 'Seconds for which a failed delivery is kept.'),
  WEBHOOK_DELIVERED_TTL_S: setting(
    int(1, 365 * DAY_S),
    DAY_S,
    'Seconds for which a successful delivery is kept.',
  ),
  WEBHOOK_MAX_KEPT: setting(
    int(1, 1e9),
    100_000,
    'Most stored deliveries of one key; beyond it the oldest finished ones are removed early.',
  ),
  WEBHOOK_ALLOW: setting(
    list.transform((entries, context) => {
      try {
        return entries.map(parseAllowed);
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
        return z.NEVER;
      }
    }),
    '',
    'Receivers inside your network, which are refused otherwise: host names, `*.name`, addresses or `10.0.0.0/8`, each with an optional `:port`.',
  ),
  WEBHOOK_SCHEMES: setting(
    list.refine(
      (schemes) => schemes.length > 0 && schemes.every((scheme) => ['http', 'https'].includes(scheme)),
      'must be https, or http,https',
    ),
    'https',
    'Schemes that webhook URLs may have.',
  ),
  WEBHOOK_PORTS: setting(
    list.pipe(z.array(int(1, 65_535))),
    '80,443,8080,8443',
    'Ports that webhook URLs may have. An entry of `WEBHOOK_ALLOW` may name another.',
  ),
  WEBHOOK_DNS: setting(
    list.refine(areDnsServers, 'must be IP addresses, each with an optional `:port`'),
    '',
    'DNS servers that resolve the names of receivers. Unset: those of the system. Names in `WEBHOOK_ALLOW` are always resolved by the system.',
  ),
  WEBHOOK_PER_HOST: setting(int(1, 1000), 8, 'Most concurrent attempts of one key to one host and port.'),
  WEBHOOK_CONCURRENCY: setting(
    int(1, 10_000),
    512,
    'Most concurrent attempts of a webhook process; one key has at most four fifths of them.',
  ),
  WEBHOOK_MAX_RESPONSE_BYTES: setting(
    int(4096, 16e6),
    65_536,
    'Most bytes read of a response, headers included: a longer body is cut off, longer headers fail the attempt.',
  ),
  WEBHOOK_MAX_INTERIM_RESPONSES: setting(
    int(0, 1000),
    10,
    'Most interim responses (1xx) of a receiver before its final one; more fail the attempt.',
  ),
  WEBHOOK_HEALTH_HOST: setting(text, '127.0.0.1', "Address of a webhook process's health endpoints."),
  WEBHOOK_HEALTH_PORT: setting(
    int(0, 65_535),
    3200,
    "Port of a webhook process's health endpoints. 0 = any free port.",
  ),
} as const;

function areDnsServers(servers: string[]): boolean {
  try {
    new Resolver().setServers(servers);
    return true;
  } catch {
    return false;
  }
}
