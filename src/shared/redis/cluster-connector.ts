/**
 * Connects to the node of a Redis Cluster that owns the keys of this instance. All keys are in one slot, so one node is enough, and
 * the layers above work as with a standalone Redis. connections.ts reconnects when the slot has moved; then the owner is looked up
 * again.
 *
 * Not ioredis's `Cluster`: it has its own type, retries, timeouts and offline queues.
 */
import { createConnection } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis';
import { toError } from '../runtime/to-error.ts';

export interface ClusterOptions {
  /** Nodes to ask; some of the cluster's nodes are enough. */
  clusterNodes: Node[];
  /** Any key of the slot. */
  clusterKey: string;
}

interface Node {
  host: string;
  port: number;
}

/** Longest wait for the answer of a node; then the next one is asked. */
const ANSWER_MS = 1000;
/** Pause before all nodes are asked again. */
const ASK_AGAIN_MS = 200;

type Emit = Parameters<AbstractConnector['connect']>[0];
type Stream = Awaited<ReturnType<AbstractConnector['connect']>>;

export class ClusterConnector extends AbstractConnector {
  readonly #options: RedisOptions & ClusterOptions;
  /** In the order in which they are asked: the node that answered last time is first. */
  #nodes: Node[];

  /** @param options of the connection; typed as `RedisOptions.Connector` requires */
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

  /** Refuses a node that has become a replica meanwhile. */
  override check({ role }: { role?: string }): boolean {
    return role !== 'slave';
  }

  /** Asks until a node knows the owner. Throwing here would end the connection for good. */
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
      emit('error', new Error(`no node of the cluster knows the owner of the slot: ${reason}`));
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
      // Each range: first slot, last slot, then its nodes, the master first.
      const owner = ranges.find(([from, to]) => from <= slot && slot <= to)?.[2];
      if (!owner) throw new Error(`slot ${slot} has no owner`);
      // A node that does not know its own host leaves it out: use the address where it was asked.
      return { host: owner[0] || node.host, port: owner[1] };
    } catch (error) {
      throw reason ?? error;
    } finally {
      redis.disconnect();
    }
  }
}
