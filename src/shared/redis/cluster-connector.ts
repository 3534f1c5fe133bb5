/**
 * Leads a connection to the node of a Redis Cluster that has the keys of this instance: all of them are in one slot, so one
 * node is all that is needed, and everything above works as with a Redis that stands alone. redis.ts ends the connection
 * when the slot has moved; the next one asks again.
 *
 * ioredis has a `Cluster` for this, with a type, retries, timeouts and offline queues of its own.
 */
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis';
import { toError } from '../runtime/to-error.ts';

export interface ClusterOptions {
  /** Nodes to ask; they need not be all there are. */
  clusterNodes: Node[];
  /** Any key of the slot. */
  clusterKey: string;
}

interface Node {
  host: string;
  port: number;
}

/** A node that does not answer for so long is left for the next. */
const ANSWER_MS = 1000;
/** Nobody knew the owner: asked again after so long. */
const ASK_AGAIN_MS = 200;

type Emit = Parameters<AbstractConnector['connect']>[0];
type Stream = Awaited<ReturnType<AbstractConnector['connect']>>;

export class ClusterConnector extends AbstractConnector {
  readonly #options: RedisOptions & ClusterOptions;
  /** The one that knew last time is asked first. */
  #nodes: Node[];

  /** @param options those of the connection; their type is what `RedisOptions.Connector` asks for */
  constructor(options: unknown) {
    const own = options as RedisOptions & ClusterOptions;
    super(own.disconnectTimeout ?? ANSWER_MS);
    this.#options = own;
    this.#nodes = own.clusterNodes;
  }

  override async connect(emit: Emit): Promise<Stream> {
    this.connecting = true;
    const owner = await this.#findOwner(emit);
    const { tls } = this.#options;
    const stream = tls ? connectTls({ ...owner, ...tls }) : createConnection(owner);
    stream.once('error', (error: Error) => {
      this.firstError = error;
    });
    this.stream = stream;
    return stream;
  }

  /** A replica is what the owner has become meanwhile. */
  override check({ role }: { role?: string }): boolean {
    return role !== 'slave';
  }

  /** Asks until somebody knows. An error from here would end the connection for good. */
  async #findOwner(emit: Emit): Promise<Node> {
    for (;;) {
      let reason = '';
      for (const node of this.#nodes) {
        try {
          const owner = await this.#ask(node);
          this.#nodes = [node, ...this.#nodes.filter((other) => other !== node)];
          this.#expectOpen();
          return owner;
        } catch (error) {
          reason = toError(error).message;
        }
        this.#expectOpen();
      }
      emit('error', new Error(`no node of the cluster knows who has the slot: ${reason}`));
      await sleep(ASK_AGAIN_MS);
      this.#expectOpen();
    }
  }

  #expectOpen(): void {
    if (!this.connecting) throw new Error('Connection is closed.');
  }

  async #ask(node: Node): Promise<Node> {
    const { clusterKey, username, password, tls } = this.#options;
    const redis = new Redis({
      ...node,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
      ...(tls !== undefined && { tls }),
      connectTimeout: ANSWER_MS,
      commandTimeout: ANSWER_MS,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false,
      disableClientInfo: true,
      retryStrategy: () => null,
    });
    let reason: Error | undefined;
    redis.on('error', (error) => (reason ??= error));
    try {
      const [slot, ranges] = await Promise.all([
        redis.cluster('KEYSLOT', clusterKey),
        redis.cluster('SLOTS'),
      ]);
      // First and last slot, then the nodes that have them, the master first.
      const owner = ranges.find(([from, to]) => from <= slot && slot <= to)?.[2];
      if (!owner) throw new Error(`slot ${slot} has no owner`);
      // A node that knows no name of its own leaves it out: it is at the address where it was asked.
      return { host: owner[0] || node.host, port: owner[1] };
    } catch (error) {
      throw reason ?? error;
    } finally {
      redis.disconnect();
    }
  }
}
