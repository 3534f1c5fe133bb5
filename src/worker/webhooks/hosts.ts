/**
 * How many attempts may be under way to one receiver, so that one that hangs or is down holds up no other.
 *
 * A receiver starts with a few, gets more with every success up to the limit, and one at a time once it only fails. Whoever
 * finds no room is told when there will probably be some, and comes back then; places are given out in turn, so a thousand
 * that wait come back one after the other and not all at once. Pure, but for chance: the clock is handed in.
 */

export interface HostLimits {
  /** Most attempts under way to one host. */
  perHost: number;
  /** For a host that nothing is known of. */
  first?: number;
  /** Failures in a row after which a host is tried one at a time. */
  failing?: number;
}

interface Host {
  inFlight: number;
  limit: number;
  failures: number;
  /** Smoothed duration of an attempt, in ms. */
  meanMs: number;
  /** Time until which the places that will become free are promised. */
  promised: number;
  lastUsed: number;
}

const FIRST = 2;
const FAILING = 3;
const FIRST_MEAN_MS = 100;
/** Longer guesses would keep a receiver waiting that has recovered. */
const MAX_WAIT_MS = 30_000;
const MIN_WAIT_MS = 5;
const SMOOTHING = 0.2;
/** Hosts that are remembered; idle ones that nobody used for longest go first. */
const MAX_HOSTS = 10_000;

export class Hosts {
  readonly #limits: Required<HostLimits>;
  readonly #hosts = new Map<string, Host>();

  constructor({ perHost, first = FIRST, failing = FAILING }: HostLimits) {
    this.#limits = { perHost, first: Math.min(first, perHost), failing };
  }

  /** Hosts that are tried one at a time. */
  get failing(): number {
    let count = 0;
    for (const { failures } of this.#hosts.values()) if (failures >= this.#limits.failing) count++;
    return count;
  }

  /**
   * Takes a place at a host; give it back with leave().
   * @param now ms, from any clock
   * @returns 0, or when there is none the ms after which to come back
   */
  enter(name: string, now: number): number {
    const host = this.#host(name, now);
    if (host.inFlight < host.limit) {
      host.inFlight++;
      return 0;
    }
    return this.#promise(host, now);
  }

  /** Ms after which something new for a host has a chance: 0 when there is room, and nobody was promised it. */
  wait(name: string, now: number): number {
    const host = this.#host(name, now);
    return host.inFlight < host.limit && host.promised <= now ? 0 : this.#promise(host, now);
  }

  /** Gives a place back. @param attempt what it was used for: ms that it took, and whether the receiver is up */
  leave(name: string, now: number, attempt?: { ms: number; success: boolean }): void {
    const host = this.#host(name, now);
    const { perHost, failing, first } = this.#limits;
    host.inFlight = Math.max(0, host.inFlight - 1);
    if (!attempt) return;
    host.meanMs += (attempt.ms - host.meanMs) * SMOOTHING;
    if (attempt.success) {
      // It is back: whoever waits is not to wait for what was promised while it was down.
      if (host.failures >= failing) host.promised = now;
      host.failures = 0;
      host.limit = Math.min(perHost, Math.max(first, host.limit + 1));
    } else if (++host.failures >= failing) {
      host.limit = 1;
    }
  }

  /** Ms until the next place that nobody was promised becomes free. */
  #promise(host: Host, now: number): number {
    const next = Math.max(host.promised, now) + host.meanMs / host.limit;
    // Too far off to promise anything: whoever waits asks again some time, but not all at the same.
    if (next - now > MAX_WAIT_MS) return MAX_WAIT_MS * (0.5 + Math.random() / 2);
    host.promised = next;
    return Math.max(MIN_WAIT_MS, next - now);
  }

  #host(name: string, now: number): Host {
    const known = this.#hosts.get(name);
    if (known) {
      known.lastUsed = now;
      return known;
    }
    if (this.#hosts.size >= MAX_HOSTS) this.#forgetIdle();
    const host: Host = {
      inFlight: 0,
      limit: this.#limits.first,
      failures: 0,
      meanMs: FIRST_MEAN_MS,
      promised: now,
      lastUsed: now,
    };
    this.#hosts.set(name, host);
    return host;
  }

  #forgetIdle(): void {
    const idle = [...this.#hosts].filter(([, host]) => host.inFlight === 0);
    idle.sort(([, a], [, b]) => a.lastUsed - b.lastUsed);
    for (const [name] of idle.slice(0, MAX_HOSTS / 10)) this.#hosts.delete(name);
  }
}
