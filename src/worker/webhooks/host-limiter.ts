/**
 * Limits how many attempts are under way to each host, so that one that hangs or is down holds up no other; and how many each
 * owner has, so that nobody can hold up the others with a thousand hosts that hang. Owners share nothing but the total: a host
 * counts for each of them alone, and failures that one has there are no other's.
 *
 * A host starts with a few places and gets more with every success, up to the limit. Once it only fails it has a single
 * one, with a growing pause behind every attempt, so that what waits for it is there when it is back.
 *
 * Deliveries that find no place wait in line, in memory. Places and the room for lines are given out by dynamic thresholds
 * (Choudhury and Hahne 1998): an owner may have so many times what is still free. One alone gets most of the places, and
 * there are always some left for the next one, who does not have to wait until a place is given back. Of the room, an owner
 * may have half, two a third each; and a line what is left of its owner's part. Deliveries that find no room
 * either are parked elsewhere, and called when the line has become short.
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

/** Where a delivery goes, and whose it is. */
export interface Destination {
  owner: string;
  /** Host and port of the receiver. */
  host: string;
}

/** What an owner has of what all share. */
interface Owner {
  inFlight: number;
  waiting: number;
  parked: number;
}

interface Host {
  owner: Owner;
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
}

interface Waiter {
  admit: () => void;
  refuse: (reason: Error) => void;
}

/** An owner may have so many times as many attempts under way as places are free: alone four fifths of them, with another four ninths. */
const SHARE = 4;
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
/** Of the hosts beyond that, so many are looked at for an idle one. */
const FORGET_AT_ONCE = 10;

export class Hosts {
  readonly #options: HostOptions;
  /** By owner and name; the one that was used last comes last. */
  readonly #hosts = new Map<string, Host>();
  /** As many as there are API keys. */
  readonly #owners = new Map<string, Owner>();
  /** Those with a line, next to be served first. */
  readonly #lines = new Set<Host>();
  #inFlight = 0;
  #waiting = 0;
  #parked = 0;
  /** A host with a place of its own has found none among those that all share. */
  #scarce = false;
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
  enter(to: Destination, id: string): Promise<void> | undefined {
    if (this.#closed) return Promise.reject(this.#closed);
    const host = this.#host(to);
    this.#unpark(host, id);
    if (host.line.length === 0 && this.#hasPlace(host)) {
      this.#take(host);
      return Promise.resolve();
    }
    if (!this.#hasRoom(host.owner, host.line.length)) return undefined;
    const turn = new Promise<void>((admit, refuse) => host.line.push({ admit, refuse }));
    this.#waiting++;
    host.owner.waiting++;
    this.#serve(host);
    return turn;
  }

  /** Whether there is no room to wait for a place at a host. */
  isFull(to: Destination): boolean {
    const owner = this.#owners.get(to.owner) ?? { waiting: 0 };
    return !this.#hasRoom(owner, this.#hosts.get(keyOf(to))?.line.length ?? 0);
  }

  /** Deliveries of a host that are remembered to be called. */
  parkedAt(to: Destination): number {
    return this.#hosts.get(keyOf(to))?.parked.size ?? 0;
  }

  /** Remembers a delivery that is to be called when there is room for it. */
  park(to: Destination, id: string): void {
    if (this.#closed) return;
    const host = this.#host(to);
    const { owner } = host;
    if (host.parked.has(id)) return;
    if (owner.parked < MAX_PARKED - this.#parked) {
      host.parked.add(id);
      this.#parked++;
      owner.parked++;
    }
    this.#callSome(host);
  }

  /** Gives a place back. @param attempt what it was used for: ms that it took, and whether the receiver is up */
  leave(to: Destination, attempt?: { ms: number; success: boolean }): void {
    const host = this.#host(to);
    host.inFlight--;
    host.owner.inFlight--;
    this.#inFlight--;
    if (attempt) this.#learn(host, attempt);
    if (this.#scarce) this.#serveAll(host);
    else this.#serve(host);
    this.#callSome(host);
  }

  /** Nobody gets a place any more. @param reason what those in line are told */
  close(reason: Error): void {
    this.#closed = reason;
    for (const host of this.#lines) {
      clearTimeout(host.timer);
      host.owner.waiting -= host.line.length;
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

  /** Gives what is free to all lines, that of the host which had it last: one that always has a line would keep it for ever. */
  #serveAll(last: Host): void {
    this.#scarce = false;
    if (this.#lines.delete(last)) this.#lines.add(last);
    for (const host of [...this.#lines]) {
      if (this.#inFlight >= this.#options.total) {
        this.#scarce = true;
        break;
      }
      this.#serve(host);
    }
  }

  /** Gives its free places to those in line, and calls others into it. */
  #serve(host: Host): void {
    while (host.line.length > 0 && this.#hasPlace(host)) {
      const waiter = host.line.shift();
      this.#waiting--;
      host.owner.waiting--;
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
    if (host.calling || host.parked.size === 0 || host.line.length >= SHORT_LINE) return;
    if (!this.#hasRoom(host.owner, host.line.length)) return;
    const ids = [...host.parked].slice(0, CALLED);
    for (const id of ids) this.#unpark(host, id);
    host.calling = true;
    const goOn = () => {
      host.calling = false;
      this.#callSome(host);
    };
    const pause = () => setTimeout(goOn, CALL_PAUSE_MS).unref();
    void this.#options.call(ids).then(pause, pause);
  }

  #unpark(host: Host, id: string): void {
    if (!host.parked.delete(id)) return;
    this.#parked--;
    host.owner.parked--;
  }

  #take(host: Host): void {
    host.inFlight++;
    host.owner.inFlight++;
    this.#inFlight++;
  }

  #hasPlace({ owner, inFlight, limit, failing }: Host): boolean {
    if (inFlight >= limit || (failing !== undefined && failing.until > performance.now())) return false;
    // The last place is for an owner that has none.
    const free = this.#options.total - this.#inFlight;
    if (owner.inFlight === 0 ? free > 0 : owner.inFlight < SHARE * (free - 1)) return true;
    this.#scarce = true;
    return false;
  }

  /** Whether one more may wait in a line of this length. */
  #hasRoom({ waiting }: Pick<Owner, 'waiting'>, line: number): boolean {
    const free = this.#options.room - this.#waiting;
    return waiting < free && line < free - waiting;
  }

  #host(to: Destination): Host {
    const key = keyOf(to);
    const known = this.#hosts.get(key);
    if (known) {
      this.#hosts.delete(key);
      this.#hosts.set(key, known);
      return known;
    }
    if (this.#hosts.size >= MAX_HOSTS) this.#forgetIdle();
    let owner = this.#owners.get(to.owner);
    if (!owner) {
      owner = { inFlight: 0, waiting: 0, parked: 0 };
      this.#owners.set(to.owner, owner);
    }
    const host: Host = {
      owner,
      inFlight: 0,
      limit: Math.min(FIRST_PLACES, this.#options.perHost),
      failures: 0,
      failing: undefined,
      line: [],
      timer: undefined,
      parked: new Set(),
      calling: false,
    };
    this.#hosts.set(key, host);
    return host;
  }

  #forgetIdle(): void {
    let looked = 0;
    for (const [key, host] of this.#hosts) {
      if (host.inFlight + host.line.length + host.parked.size === 0 && !host.calling) this.#hosts.delete(key);
      if (++looked === FORGET_AT_ONCE) return;
    }
  }
}

const keyOf = ({ owner, host }: Destination): string => `${owner} ${host}`;
