/** Makes one attempt to deliver a webhook: signs the body, sends the request, and classifies the outcome. */
import { Webhook } from 'standardwebhooks';
import type { Attempt } from '../../shared/contract/webhooks.ts';
import type { Config } from '../../shared/runtime/config.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { childTrace, traceHeaders } from '../../shared/runtime/trace-context.ts';
import type { Span, Tracing } from '../../shared/runtime/tracing.ts';
import type { DeliveryRecord } from '../../shared/store/deliveries/delivery-record.ts';
import type { Secrets } from '../../shared/store/deliveries/secrets.ts';
import { parseRetryAfter } from './retry-schedule.ts';
import { Blocked, TimedOut, type Reply, type SafeFetch } from './safe-fetch.ts';

/** The reason of a failed attempt is stored with it, and cut off here. */
const MAX_REASON_CHARS = 500;

export type PendingDelivery = DeliveryRecord & { body: string };

/** How an attempt went, and what it says about the next one. */
export interface AttemptResult {
  attempt: Attempt;
  retryAfterS?: number | undefined;
}

export interface AttemptDeps {
  config: Pick<Config, 'WEBHOOK_TIMEOUT_MS'>;
  secrets: Secrets;
  safeFetch: SafeFetch;
  /** Version of Amulet, for the user agent. */
  version: string;
  tracing: Tracing;
}

/**
 * Makes an attempt, inside a span. Every failure is a result.
 * @param signal interrupts the attempt
 * @throws the reason of `signal`
 */
export async function makeAttempt(
  deps: AttemptDeps,
  id: string,
  delivery: PendingDelivery,
  signal: AbortSignal,
): Promise<AttemptResult> {
  const { type, source, url, trace, attempts } = delivery;
  const attributes = {
    'http.request.method': 'POST',
    // Not the rest of the URL: receivers put secrets into paths.
    'server.address': hostOf(url),
    'amulet.delivery.id': id,
    'amulet.event.type': type,
    'amulet.event.source': source,
    'amulet.attempt': attempts + 1,
  };
  const options = { kind: 'client', trace, attributes } as const;
  return deps.tracing.span(`deliver ${type}`, options, async (span) => {
    const result = await request(deps, id, delivery, span, signal);
    const { status, outcome } = result.attempt;
    span.set({
      'amulet.outcome': outcome,
      ...(status === null ? {} : { 'http.response.status_code': status }),
    });
    if (outcome !== 'delivered') span.fail(outcome);
    return result;
  });
}

async function request(
  { config, secrets, safeFetch, version }: AttemptDeps,
  id: string,
  { url, owner, trace, body }: PendingDelivery,
  span: Span,
  signal: AbortSignal,
): Promise<AttemptResult> {
  const known = await secrets.of(owner);
  // Only now: Redis may have been away for long, and receivers reject signatures older than five minutes.
  const at = new Date();
  const start = performance.now();
  const signatures = known.map(({ secret }) => new Webhook(secret).sign(id, at, body));
  const base = { at: at.toISOString(), status: null, reason: null, response: null };
  const ms = () => Math.round(performance.now() - start);
  if (signatures.length === 0) {
    const reason = 'no secret to sign with: set WEBHOOK_SECRET';
    return { attempt: { ...base, outcome: 'blocked', reason, ms: ms() } };
  }
  try {
    const reply = await safeFetch.post({
      url,
      body,
      headers: {
        'content-type': 'application/json',
        'user-agent': `Amulet/${version}`,
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
        'webhook-signature': signatures.join(' '),
        ...traceHeaders(span.trace ?? childTrace(trace)),
      },
      timeoutMs: config.WEBHOOK_TIMEOUT_MS,
      signal,
    });
    const retryAfterS = parseRetryAfter(reply.retryAfter, Date.now());
    const { outcome, reason } = classify(reply, retryAfterS);
    return {
      attempt: { ...base, outcome, status: reply.status, reason, response: reply.body, ms: ms() },
      retryAfterS,
    };
  } catch (error) {
    if (signal.aborted && error === signal.reason) throw error;
    const outcome =
      error instanceof Blocked ? 'blocked' : error instanceof TimedOut ? 'timeout' : 'connection';
    return { attempt: { ...base, outcome, reason: reasonOf(error), ms: ms() } };
  }
}

function classify(
  { status }: Reply,
  retryAfterS: number | undefined,
): { outcome: Attempt['outcome']; reason: string | null } {
  if (status >= 200 && status < 300) return { outcome: 'delivered', reason: null };
  if (status >= 300 && status < 400) return { outcome: 'redirect', reason: 'redirects are not followed' };
  if (status === 410) return { outcome: 'gone', reason: 'the receiver asked for no more attempts (410)' };
  if (status === 429 || (status === 503 && retryAfterS !== undefined)) {
    const reason =
      retryAfterS === undefined ? null : `the receiver asked to wait ${Math.ceil(retryAfterS)} s`;
    return { outcome: 'throttled', reason };
  }
  return { outcome: status >= 500 ? 'server_error' : 'rejected', reason: null };
}

/** Whether an attempt shows that its receiver is up: also when the receiver rejected the event. */
export function isUp({ outcome }: Attempt): boolean {
  return ['delivered', 'rejected', 'redirect', 'gone'].includes(outcome);
}

/** Stands for the attempts of a delivery that never got a slot at its receiver. */
export function neverAttempted(): Attempt {
  const reason = 'not attempted: the receiver failed until the time for retries was over';
  return { at: new Date().toISOString(), outcome: 'timeout', status: null, reason, response: null, ms: 0 };
}

/** Host and port of a URL. A final dot is dropped: it names the same host. */
export function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host.replace(/\.(?=:|$)/, '') : url;
}

/** The message of an error, cut off: a certificate may have thousands of names, and the error lists them all. */
function reasonOf(thrown: unknown): string {
  const error = toError(thrown);
  // One error for each address that was tried.
  const messages =
    error instanceof AggregateError ? error.errors.map((each) => toError(each).message) : [error.message];
  const reason = messages.join('; ') || ((error as NodeJS.ErrnoException).code ?? error.name);
  const whole = reason.toWellFormed().replaceAll('\0', '\u{fffd}');
  return whole.length <= MAX_REASON_CHARS ? whole : `${whole.slice(0, MAX_REASON_CHARS).toWellFormed()}…`;
}
