/**
 * Finds the master through Sentinels, and leaves it when they name another: one that hangs keeps its connections, and one
 * that is well goes on taking writes for eight seconds after its replacement, which are lost when it becomes a replica.
 *
 * ioredis has a `failoverDetector` for this. It ends a connection for good when the news comes while it reconnects.
 */
import type { Socket } from 'node:net';
import { Redis, SentinelConnector, type SentinelConnectionOptions } from 'ioredis';

const WATCH_RETRY_MS = 2000;

export class WatchingConnector extends SentinelConnector {
  /** @param options those of the connection; their type is what `RedisOptions.Connector` asks for */
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
  }

  override async connect(...args: Parameters<SentinelConnector['connect']>): Promise<Socket> {
    const stream = await super.connect(...args);
    MasterWatch.of(this.options).add(stream);
    return stream;
  }
}

/** Listens to all Sentinels of a master, for all of a process's connections to it, as long as there are any. */
class MasterWatch {
  static readonly #watches = new Map<string, MasterWatch>();
  readonly #key: string;
  readonly #streams = new Set<Socket>();
  readonly #sentinels: Redis[];

  private constructor(key: string, options: SentinelConnectionOptions) {
    const { name, sentinels = [], sentinelUsername, sentinelPassword, sentinelTLS } = options;
    this.#key = key;
    this.#sentinels = sentinels.map(({ host, port }) => {
      const sentinel = new Redis({
        ...(host !== undefined && { host }),
        ...(port !== undefined && { port }),
        ...(sentinelUsername !== undefined && { username: sentinelUsername }),
        ...(sentinelPassword !== undefined && { password: sentinelPassword }),
        ...(sentinelTLS !== undefined && { tls: sentinelTLS }),
        enableReadyCheck: false,
        keepAlive: 5000,
        maxRetriesPerRequest: null,
        retryStrategy: () => WATCH_RETRY_MS,
      });
      // One that is away is no trouble: there are others, and connections say when none answers.
      sentinel.on('error', () => {});
      sentinel.subscribe('+switch-master').catch(() => {});
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

  add(stream: Socket): void {
    this.#streams.add(stream);
    stream.once('close', () => {
      this.#streams.delete(stream);
      if (this.#streams.size > 0) return;
      MasterWatch.#watches.delete(this.#key);
      for (const sentinel of this.#sentinels) sentinel.disconnect();
    });
  }

  /** @param successor address, which other connections may have found already */
  #switched(successor: string): void {
    for (const stream of this.#streams)
      if (`${stream.remoteAddress}:${stream.remotePort}` !== successor) stream.destroy();
  }
}
