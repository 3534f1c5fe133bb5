/**
 * Places at receivers: how many attempts may be under way to each, so that one that hangs or is down holds up no other.
 *
 * A receiver starts with a few places and gets more with every success, up to the limit. Once it only fails it has a single
 * one, with a growing pause behind every attempt, so that what waits for it is there when it is back.
 *
 * Whoever finds no place waits in line, in memory. All lines share one room, and none may be longer than what is free of it
 * (dynamic thresholds, Choudhury and Hahne 1998): a single receiver with a hundred thousand deliveries takes half of the
 * room, two take a third each, and there is always some left for the next one. Whoever finds no room either is parked
 * elsewhere, and called when the line has become short.
 */

export interface HostOptions {
  /** Most attempts under way to one host. */
  perHost: number;
  /** Most attempts under way to all hosts. */
  total: number;
  /** Most that wait in line, at all hosts. */
  room: number;
  /** Has parked deliveries come. A failure costs time only: they come by themselves after a while. */
  call: (ids: string[]) => Promise<void>;
}

interface Host {
  inFlight: number;
  limit: number;
  /** In a row. */
  failures: number;
  /** Set while it only fails. Times are those of performance.now(). */
  failing: { since: number; pauseMs: number; until: number } | undefined;
  line: Waiter[];
  /** Runs while the line waits for the end of a pause. */
  timer: NodeJS.Timeout | undefined;
  /** In the order in which they are to be called. */
  parked: Set<string>;
  /** Some have been called, and are given a moment to arrive. */
  calling: boolean;
  lastUsed: number;
}

interface Waiter {
  admit: () => void;
  refuse: (reason: Error) => void;
}

const FIRST_PLACES = 2;
/** Failures in a row after which a host counts as failing, if it does not have more places: one that answers some is not down. */
const FAILING = 3;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5000;
/** A line is short when fewer wait in it. */
const SHORT_LINE = 50;
/** So many parked ones are called at once, and then none for a while. */
const CALLED = 100;
const CALL_PAUSE_MS = 100;
/** Parked ones that are remembered; the others come by themselves. */
const MAX_PARKED = 50_000;
/** Hosts that are remembered; idle ones that nobody used for longest go first. */
const MAX_HOSTS = 10_000;

export class Hosts {
  readonly #options: HostOptions;
  readonly #hosts = new Map<string, Host>();
  /** Those with a line, next to be served first. */
  readonly #lines = new Set<Host>();
  #inFlight = 0;
  #waiting = 0;
  #parked = 0;
  #closed: Error | undefined;

  constructor(options: HostOptions) {
    this.#options = options;
  }

  /** Hosts that are tried one at a time. */
  get failing(): number {
    let count = 0;
    for (const { failing } of this.#hosts.values()) if (failing) count++;
    return count;
  }

  /** Deliveries in line. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Takes a place at a host for a delivery; give it back with leave().
   * @returns resolved when it is there, rejected by close(); undefined when there is no room to wait for it
   */
  enter(name: string, id: string): Promise<void> | undefined {
    if (this.#closed) return Promise.reject(this.#closed);
    const host = this.#host(name);
    if (host.parked.delete(id)) this.#parked--;
    if (host.line.length === 0 && this.#hasPlace(host)) {
      this.#take(host);
      return Promise.resolve();
    }
    if (!this.#hasRoom(host)) return undefined;
    const turn = new Promise<void>((admit, refuse) => host.line.push({ admit, refuse }));
    this.#waiting++;
    this.#serve(host);
    return turn;
  }

  /** Whether there is no room to wait for a place at a host. */
  isFull(name: string): boolean {
    return !this.#hasRoom(this.#host(name));
  }

  /** Deliveries of a host that are remembered to be called. */
  parkedAt(name: string): number {
    return this.#host(name).parked.size;
  }

  /** Remembers a delivery that is to be called when there is room for it. */
  park(name: string, id: string): void {
    const host = this.#host(name);
    if (this.#closed || this.#parked >= MAX_PARKED || host.parked.has(id)) return;
    host.parked.add(id);
    this.#parked++;
    this.#callSome(host);
  }

  /** Gives a place back. @param attempt what it was used for: ms that it took, and whether the receiver is up */
  leave(name: string, attempt?: { ms: number; success: boolean }): void {
    const host = this.#host(name);
    const wasFull = this.#inFlight >= this.#options.total;
    host.inFlight--;
    this.#inFlight--;
    if (attempt) this.#learn(host, attempt);
    if (!wasFull) {
      this.#serve(host);
      return;
    }
    // The place is for whoever has waited longest for one of the total: a host that always has a line would keep it for ever.
    if (this.#lines.delete(host)) this.#lines.add(host);
    for (const next of [...this.#lines]) {
      if (this.#inFlight >= this.#options.total) break;
      this.#serve(next);
    }
    this.#callSome(host);
  }

  /** Nobody gets a place any more. @param reason what those in line are told */
  close(reason: Error): void {
    this.#closed = reason;
    for (const host of this.#lines) {
      clearTimeout(host.timer);
      for (const { refuse } of host.line.splice(0)) refuse(reason);
    }
    this.#lines.clear();
    this.#waiting = 0;
  }

  #learn(host: Host, { ms, success }: { ms: number; success: boolean }): void {
    const now = performance.now();
    if (success) {
      host.failing = undefined;
      host.failures = 0;
      host.limit = Math.min(this.#options.perHost, host.limit + 1);
      return;
    }
    if (++host.failures < Math.max(FAILING, host.limit)) return;
    host.limit = 1;
    if (host.failing === undefined) {
      host.failing = { since: now, pauseMs: FIRST_PAUSE_MS, until: now + FIRST_PAUSE_MS };
    } else if (now - ms >= host.failing.since) {
      // Attempts that were under way when it broke down say nothing new.
      host.failing.pauseMs = Math.min(MAX_PAUSE_MS, host.failing.pauseMs * 2);
      host.failing.until = now + host.failing.pauseMs;
    }
  }

  /** Gives its free places to those in line, and calls others into it. */
  #serve(host: Host): void {
    while (host.line.length > 0 && this.#hasPlace(host)) {
      const waiter = host.line.shift();
      this.#waiting--;
      this.#take(host);
      waiter?.admit();
    }
    this.#callSome(host);
    // Behind the others, who may wait for a place of the total.
    this.#lines.delete(host);
    if (host.line.length === 0) return;
    this.#lines.add(host);
    const pauseMs = (host.failing?.until ?? 0) - performance.now();
    if (pauseMs > 0 && host.timer === undefined) {
      host.timer = setTimeout(() => {
        host.timer = undefined;
        this.#serve(host);
      }, pauseMs);
    }
  }

  #callSome(host: Host): void {
    if (host.calling || host.parked.size === 0 || host.line.length >= SHORT_LINE || !this.#hasRoom(host))
      return;
    const ids = [...host.parked].slice(0, CALLED);
    for (const id of ids) host.parked.delete(id);
    this.#parked -= ids.length;
    host.calling = true;
    const goOn = () => {
      host.calling = false;
      this.#callSome(host);
    };
    const pause = () => setTimeout(goOn, CALL_PAUSE_MS).unref();
    void this.#options.call(ids).then(pause, pause);
  }

  #take(host: Host): void {
    host.inFlight++;
    this.#inFlight++;
  }

  #hasPlace({ inFlight, limit, failing }: Host): boolean {
    if (inFlight >= limit || this.#inFlight >= this.#options.total) return false;
    return failing === undefined || failing.until <= performance.now();
  }

  #hasRoom(host: Host): boolean {
    return host.line.length < this.#options.room - this.#waiting;
  }

  #host(name: string): Host {
    const now = performance.now();
    const known = this.#hosts.get(name);
    if (known) {
      known.lastUsed = now;
      return known;
    }
    if (this.#hosts.size >= MAX_HOSTS) this.#forgetIdle();
    const host: Host = {
      inFlight: 0,
      limit: Math.min(FIRST_PLACES, this.#options.perHost),
      failures: 0,
      failing: undefined,
      line: [],
      timer: undefined,
      parked: new Set(),
      calling: false,
      lastUsed: now,
    };
    this.#hosts.set(name, host);
    return host;
  }

  #forgetIdle(): void {
    const idle = [...this.#hosts].filter(
      ([, host]) => host.inFlight + host.line.length + host.parked.size === 0,
    );
    idle.sort(([, a], [, b]) => a.lastUsed - b.lastUsed);
    for (const [name] of idle.slice(0, MAX_HOSTS / 10)) this.#hosts.delete(name);
  }
}
