/**
 * Finds the master through Sentinels, and leaves it when they name another: one that hangs keeps its connections, and one
 * that is well goes on taking writes for eight seconds after its replacement, which are lost when it becomes a replica.
 *
 * ioredis has a `failoverDetector` for this. It ends a connection for good when the news comes while it reconnects.
 */
import { isIP, type Socket } from 'node:net';
import { Redis, SentinelConnector, type SentinelConnectionOptions } from 'ioredis';

const WATCH_RETRY_MS = 2000;

export class WatchingConnector extends SentinelConnector {
  /** @param options those of the connection; their type is what `RedisOptions.Connector` asks for */
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

/** Listens to all Sentinels of a master, for all of a process's connections to it, as long as there are any. */
class MasterWatch {
  static readonly #watches = new Map<string, MasterWatch>();
  readonly #key: string;
  readonly #streams = new Set<Socket>();
  /** Streams, and those who are asking where theirs is to go. */
  #holders = 0;
  readonly #sentinels: Redis[];
  /** Of the newest master that a Sentinel has told of when it was asked. */
  #epoch = -1;
  /** How often a master was named. */
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
        // Subscribed to below, each time: what was missed meanwhile has to be asked for behind it.
        autoResubscribe: false,
        retryStrategy: () => WATCH_RETRY_MS,
      });
      // One that is away is no trouble: there are others, and connections say when none answers.
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

  /** @param switches as many as there were before anybody was asked where the stream is to go */
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

  /** Goes on listening until `release()`. */
  hold(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders > 0) return;
    MasterWatch.#watches.delete(this.#key);
    for (const sentinel of this.#sentinels) sentinel.disconnect();
  }

  /** Whether the master has changed while nobody listened. */
  async #ask(sentinel: Redis, name: string): Promise<void> {
    sentinel.on('error', () => {});
    try {
      const reply = await sentinel.call('SENTINEL', 'MASTER', name);
      const fields = reply as string[];
      const field = (wanted: string) => fields[fields.indexOf(wanted) + 1] ?? '';
      const epoch = Number(field('config-epoch'));
      // One that is cut off from the others tells of a master before this one.
      if (!(epoch > this.#epoch)) return;
      this.#epoch = epoch;
      // A name tells nothing of where a connection ends.
      if (isIP(field('ip')) !== 0) this.#switched(`${field('ip')}:${field('port')}`);
    } catch {
      // It is gone again; it will be subscribed to again.
    } finally {
      sentinel.disconnect();
    }
  }

  /** @param successor address, which other connections may have found already */
  #switched(successor: string): void {
    this.#master = successor;
    this.switches++;
    for (const stream of this.#streams) if (!stream.connecting && !this.#isMaster(stream)) stream.destroy();
  }

  #isMaster({ remoteAddress, remotePort }: Socket): boolean {
    return `${remoteAddress}:${remotePort}` === this.#master;
  }
}
