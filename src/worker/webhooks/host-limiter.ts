/**
 * Per-host concurrency limit, so that a slow or dead receiver cannot block the others; and a share per owner, so that one owner
 * cannot block the others with a thousand hosts that hang. Owners share only the total: each has its own limit and its own
 * failure count at a host.
 *
 * A host starts with a few slots and gets one more with every success, up to the limit. A host that only fails has a single
 * slot, with a growing pause after every attempt, so that its deliveries are still there when it recovers.
 *
 * Deliveries without a slot wait in a queue per host, in memory. Slots and queue places are given out by dynamic thresholds
 * (Choudhury and Hahne 1998): an owner may use a multiple of what is still free. A single owner gets most of the slots, and
 * some are always left for the next owner, who need not wait until a slot is released. Of the queue places, one owner may use
 * half, two owners a third each; a host's queue may use what is left of its owner's part. Deliveries that do not fit into a
 * queue are deferred: they wait in Redis, and are resumed once the queue is short.
 */

export interface HostLimiterOptions {
  /** Most attempts in flight to one host. */
  perHost: number;
  /** Most attempts in flight to all hosts. */
  total: number;
  /** Most deliveries that wait in memory, in the queues of all hosts. */
  queueLimit: number;
  /** Has deferred deliveries processed now. A failure costs only time: each of them is processed later anyway. */
  resume: (ids: string[]) => Promise<void>;
}

/** Receiver and owner of a delivery. */
export interface Destination {
  owner: string;
  /** Host and port of the receiver. */
  host: string;
}

/** How much of the shared limits an owner uses. */
interface Owner {
  inFlight: number;
  waiting: number;
  deferred: number;
}

interface Host {
  owner: Owner;
  inFlight: number;
  limit: number;
  /** Failures in a row. */
  failures: number;
  /** Set while the host only fails. Times are those of performance.now(). */
  failing: { since: number; pauseMs: number; until: number } | undefined;
  queue: Waiter[];
  /** Runs while the queue waits for the end of a pause. */
  timer: NodeJS.Timeout | undefined;
  /** Deferred deliveries, in the order in which they are resumed. */
  deferred: Set<string>;
  /** Some deliveries were just resumed; no more until they have had time to arrive. */
  resuming: boolean;
}

interface Waiter {
  admit: () => void;
  refuse: (reason: Error) => void;
}

/**
 * An owner may have this many times as many attempts in flight as slots are free: alone four fifths of all, with another four
 * ninths.
 */
const SHARE = 4;
const FIRST_SLOTS = 2;
/**
 * Failures in a row after which a host counts as failing, or as many as it has slots if those are more: a host that answers
 * some attempts is not down.
 */
const FAILING = 3;
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5000;
/** A queue with fewer waiting deliveries is short. */
const SHORT_QUEUE = 50;
/** Deliveries that are resumed at once, and the pause before more of them. */
const RESUMED_AT_ONCE = 100;
const RESUME_PAUSE_MS = 100;
/** Deferred deliveries that are remembered; the others are processed when their delay in Redis is over. */
const MAX_DEFERRED = 50_000;
/** Hosts that are remembered; idle hosts are forgotten first, least recently used first. */
const MAX_HOSTS = 10_000;
/** Hosts that are examined, beyond MAX_HOSTS, to find an idle one to forget. */
const FORGET_AT_ONCE = 10;

export class HostLimiter {
  readonly #options: HostLimiterOptions;
  /** By owner and host; the most recently used comes last. */
  readonly #hosts = new Map<string, Host>();
  /** One per API key. */
  readonly #owners = new Map<string, Owner>();
  /** Hosts with a queue, in the order in which they are served. */
  readonly #queued = new Set<Host>();
  #inFlight = 0;
  #waiting = 0;
  #deferred = 0;
  /** A host below its own limit got no slot because of the shared ones. */
  #scarce = false;
  #closed: Error | undefined;

  constructor(options: HostLimiterOptions) {
    this.#options = options;
  }

  /** Hosts that only fail, and get one attempt at a time. */
  get failing(): number {
    let count = 0;
    for (const { failing } of this.#hosts.values()) if (failing) count++;
    return count;
  }

  /** Deliveries that wait in memory for a slot. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Takes a slot at a host for a delivery; release() gives it back.
   * @returns resolved once there is a slot, rejected by close(); undefined when the queue is full
   */
  acquire(to: Destination, id: string): Promise<void> | undefined {
    if (this.#closed) return Promise.reject(this.#closed);
    const host = this.#host(to);
    this.#forgetDeferred(host, id);
    if (host.queue.length === 0 && this.#hasSlot(host, performance.now())) {
      this.#take(host);
      return Promise.resolve();
    }
    if (!this.#hasQueuePlace(host.owner, host.queue.length)) return undefined;
    const slot = new Promise<void>((admit, refuse) => host.queue.push({ admit, refuse }));
    this.#waiting++;
    host.owner.waiting++;
    this.#serve(host);
    return slot;
  }

  /** Whether the queue for a slot at a host is full. */
  isFull(to: Destination): boolean {
    const owner = this.#owners.get(to.owner) ?? { waiting: 0 };
    return !this.#hasQueuePlace(owner, this.#hosts.get(keyOf(to))?.queue.length ?? 0);
  }

  /** Number of deferred deliveries of a host that are remembered. */
  deferredAt(to: Destination): number {
    return this.#hosts.get(keyOf(to))?.deferred.size ?? 0;
  }

  /** Remembers a delivery to resume it when the queue of its host is short. */
  defer(to: Destination, id: string): void {
    if (this.#closed) return;
    const host = this.#host(to);
    const { owner } = host;
    if (host.deferred.has(id)) return;
    if (owner.deferred < MAX_DEFERRED - this.#deferred) {
      host.deferred.add(id);
      this.#deferred++;
      owner.deferred++;
    }
    this.#resumeSome(host);
  }

  /** Gives a slot back. @param attempt how long the attempt took, and whether the receiver is up */
  release(to: Destination, attempt?: { ms: number; success: boolean }): void {
    const host = this.#host(to);
    host.inFlight--;
    host.owner.inFlight--;
    this.#inFlight--;
    if (attempt) this.#learn(host, attempt);
    if (this.#scarce) this.#serveAll(host);
    else this.#serve(host);
    this.#resumeSome(host);
  }

  /** Gives out no more slots. @param reason for which waiting deliveries are rejected */
  close(reason: Error): void {
    this.#closed = reason;
    for (const host of this.#queued) {
      clearTimeout(host.timer);
      host.owner.waiting -= host.queue.length;
      for (const { refuse } of host.queue.splice(0)) refuse(reason);
    }
    this.#queued.clear();
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
      // Attempts that were already in flight when the host broke down say nothing new.
      host.failing.pauseMs = Math.min(MAX_PAUSE_MS, host.failing.pauseMs * 2);
      host.failing.until = now + host.failing.pauseMs;
    }
  }

  /**
   * Gives free slots to all queues, last to the host that just released one: with a queue that never empties it would keep it
   * for ever.
   */
  #serveAll(last: Host): void {
    this.#scarce = false;
    if (this.#queued.delete(last)) this.#queued.add(last);
    for (const host of [...this.#queued]) {
      if (this.#inFlight >= this.#options.total) {
        this.#scarce = true;
        break;
      }
      this.#serve(host);
    }
  }

  /** Gives free slots of a host to its queue, and resumes deferred deliveries. */
  #serve(host: Host): void {
    // Read once: a pause that ended between two readings would neither let the queue pass nor start the timer.
    const now = performance.now();
    while (host.queue.length > 0 && this.#hasSlot(host, now)) {
      const waiter = host.queue.shift();
      this.#waiting--;
      host.owner.waiting--;
      this.#take(host);
      waiter?.admit();
    }
    this.#resumeSome(host);
    // Behind the other hosts, which may be waiting for one of the shared slots.
    this.#queued.delete(host);
    if (host.queue.length === 0) return;
    this.#queued.add(host);
    const pauseMs = (host.failing?.until ?? 0) - now;
    if (pauseMs > 0 && host.timer === undefined) {
      host.timer = setTimeout(() => {
        host.timer = undefined;
        this.#serve(host);
      }, pauseMs);
    }
  }

  #resumeSome(host: Host): void {
    if (host.resuming || host.deferred.size === 0 || host.queue.length >= SHORT_QUEUE) return;
    if (!this.#hasQueuePlace(host.owner, host.queue.length)) return;
    const ids = [...host.deferred].slice(0, RESUMED_AT_ONCE);
    for (const id of ids) this.#forgetDeferred(host, id);
    host.resuming = true;
    const again = () => {
      host.resuming = false;
      this.#resumeSome(host);
    };
    const pause = () => setTimeout(again, RESUME_PAUSE_MS).unref();
    void this.#options.resume(ids).then(pause, pause);
  }

  #forgetDeferred(host: Host, id: string): void {
    if (!host.deferred.delete(id)) return;
    this.#deferred--;
    host.owner.deferred--;
  }

  #take(host: Host): void {
    host.inFlight++;
    host.owner.inFlight++;
    this.#inFlight++;
  }

  #hasSlot({ owner, inFlight, limit, failing }: Host, now: number): boolean {
    if (inFlight >= limit || (failing !== undefined && failing.until > now)) return false;
    // The last slot is for an owner that has none.
    const free = this.#options.total - this.#inFlight;
    if (owner.inFlight === 0 ? free > 0 : owner.inFlight < SHARE * (free - 1)) return true;
    this.#scarce = true;
    return false;
  }

  /** Whether one more delivery may wait in a queue of this length. */
  #hasQueuePlace({ waiting }: Pick<Owner, 'waiting'>, queued: number): boolean {
    const free = this.#options.queueLimit - this.#waiting;
    return waiting < free && queued < free - waiting;
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
    const owner = this.#owners.get(to.owner) ?? { inFlight: 0, waiting: 0, deferred: 0 };
    this.#owners.set(to.owner, owner);
    const host: Host = {
      owner,
      inFlight: 0,
      limit: Math.min(FIRST_SLOTS, this.#options.perHost),
      failures: 0,
      failing: undefined,
      queue: [],
      timer: undefined,
      deferred: new Set(),
      resuming: false,
    };
    this.#hosts.set(key, host);
    return host;
  }

  #forgetIdle(): void {
    let looked = 0;
    for (const [key, host] of this.#hosts) {
      if (host.inFlight + host.queue.length + host.deferred.size === 0 && !host.resuming)
        this.#hosts.delete(key);
      if (++looked === FORGET_AT_ONCE) return;
    }
  }
}

const keyOf = ({ owner, host }: Destination): string => `${owner} ${host}`;
