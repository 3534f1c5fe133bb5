/**
 * Finds the master through Sentinels, and closes its connections when they name another one: a hanging master keeps its
 * connections, and a healthy one accepts writes for eight seconds after its replacement, which are lost when it becomes a replica.
 *
 * Not ioredis's `failoverDetector`: it ends a connection for good when the message arrives during a reconnect.
 */
import { isIP, type Socket } from 'node:net';
import { Redis, SentinelConnector, type SentinelConnectionOptions } from 'ioredis';

const WATCH_RETRY_MS = 2000;

export class WatchingConnector extends SentinelConnector {
  /** @param options of the connection; typed as `RedisOptions.Connector` requires */
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
  }

  override async connect(...args: Parameters<SentinelConnector['connect']>): Promise<Socket> {
    const watch = MasterWatch.of(this.options);
    const { switches } = watch;
    watch.hold();
    try {
      const stream = await super.connect(...args);
      watch.add(stream, switches);
      return stream;
    } finally {
      watch.release();
    }
  }
}

/** Listens to all Sentinels of a master on behalf of all of a process's connections to it; ends with the last of them. */
class MasterWatch {
  static readonly #watches = new Map<string, MasterWatch>();
  readonly #key: string;
  readonly #streams = new Set<Socket>();
  /** Number of streams, and of connections that are being opened. */
  #holders = 0;
  readonly #sentinels: Redis[];
  /** Configuration epoch of the newest master that a Sentinel has reported. */
  #epoch = -1;
  /** How often a master was announced. */
  switches = 0;
  #master = '';

  private constructor(key: string, options: SentinelConnectionOptions) {
    const { name, sentinels = [], sentinelUsername, sentinelPassword, sentinelTLS } = options;
    this.#key = key;
    this.#sentinels = sentinels.map(({ host, port }) => {
      const access = {
        ...(host !== undefined && { host }),
        ...(port !== undefined && { port }),
        ...(sentinelUsername !== undefined && { username: sentinelUsername }),
        ...(sentinelPassword !== undefined && { password: sentinelPassword }),
        ...(sentinelTLS !== undefined && { tls: sentinelTLS }),
        enableReadyCheck: false,
        disableClientInfo: true,
        keepAlive: 5000,
      };
      const sentinel = new Redis({
        ...access,
        maxRetriesPerRequest: null,
        // Subscribed below after each connect, because changes missed meanwhile must be queried after it.
        autoResubscribe: false,
        retryStrategy: () => WATCH_RETRY_MS,
      });
      // An unreachable Sentinel is no error: others answer, and connections report when none does.
      sentinel.on('error', () => {});
      sentinel.on('ready', () => {
        sentinel.subscribe('+switch-master').then(
          () => this.#ask(new Redis({ ...access, retryStrategy: () => null }), name ?? ''),
          () => {},
        );
      });
      sentinel.on('message', (_channel, message: string) => {
        const [master, , , host, port] = message.split(' ');
        if (master === name) this.#switched(`${host}:${port}`);
      });
      return sentinel;
    });
  }

  static of(options: SentinelConnectionOptions): MasterWatch {
    const key = JSON.stringify([options.name, options.sentinels]);
    const watch = this.#watches.get(key) ?? new MasterWatch(key, options);
    this.#watches.set(key, watch);
    return watch;
  }

  /** @param switches the count before the Sentinels were asked for the stream's address */
  add(stream: Socket, switches: number): void {
    this.hold();
    this.#streams.add(stream);
    stream.once('connect', () => {
      if (this.switches !== switches && !this.#isMaster(stream)) stream.destroy();
    });
    stream.once('close', () => {
      this.#streams.delete(stream);
      this.release();
    });
  }

  /** Keeps listening until `release()`. */
  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders > 0) return;
    MasterWatch.#watches.delete(this.#key);
    for (const sentinel of this.#sentinels) sentinel.disconnect();
  }

  /** Checks whether the master has changed before the subscription. */
  async #ask(sentinel: Redis, name: string): Promise<void> {
    sentinel.on('error', () => {});
    try {
      const reply = await sentinel.call('SENTINEL', 'MASTER', name);
      const fields = reply as string[];
      const field = (wanted: string) => fields[fields.indexOf(wanted) + 1] ?? '';
      const epoch = Number(field('config-epoch'));
      // A Sentinel that is cut off from the others may report an older master.
      if (!(epoch > this.#epoch)) return;
      this.#epoch = epoch;
      // A host name cannot be compared with the address of a connection.
      if (isIP(field('ip')) !== 0) this.#switched(`${field('ip')}:${field('port')}`);
    } catch {
      // The Sentinel is unreachable again; the next subscription asks again.
    } finally {
      sentinel.disconnect();
    }
  }

  /** @param successor address; some connections may lead there already */
  #switched(successor: string): void {
    this.#master = successor;
    this.switches++;
    for (const stream of this.#streams) if (!stream.connecting && !this.#isMaster(stream)) stream.destroy();
  }

  #isMaster({ remoteAddress, remotePort }: Socket): boolean {
    return `${remoteAddress}:${remotePort}` === this.#master;
  }
}
