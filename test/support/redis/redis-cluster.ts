/** A Redis Cluster of three masters that share the slots, and a replica of the one that has the keys of the tests. */
import { Redis } from 'ioredis';
import { freePort, OwnRedis } from './redis.ts';
import { eventually } from '../processes/stack.ts';

const SLOTS = 16_384;
const MASTERS = 3;
/** A silent master is replaced after this time, which exceeds the delays of a busy machine. */
const NODE_TIMEOUT_MS = 2000;

interface Node {
  redis: OwnRedis;
  busPort: number;
}

export class RedisCluster {
  /** Has the slot at first. */
  readonly owner: OwnRedis;
  readonly replica: OwnRedis;
  /** A master that has nothing of the slot. */
  readonly other: OwnRedis;
  readonly #nodes: Node[];
  readonly #slot: number;

  private constructor(nodes: Node[], owner: number, slot: number) {
    this.#nodes = nodes;
    this.#slot = slot;
    this.owner = nodes[owner]!.redis;
    this.other = nodes[(owner + 1) % MASTERS]!.redis;
    this.replica = nodes[MASTERS]!.redis;
  }

  /** @param key any of the slot */
  static async start(key: string): Promise<RedisCluster> {
    const nodes = await Promise.all(Array.from({ length: MASTERS + 1 }, startNode));
    const share = Math.ceil(SLOTS / MASTERS);
    const slot = await on(nodes[0]!.redis, (redis) => redis.cluster('KEYSLOT', key));
    const cluster = new RedisCluster(nodes, Math.floor(slot / share), slot);
    for (let i = 0; i < MASTERS; i++) {
      await on(nodes[i]!.redis, async (redis) => {
        const last = Math.min((i + 1) * share, SLOTS) - 1;
        await redis.call('CLUSTER', 'ADDSLOTSRANGE', i * share, last);
        for (const { redis: peer, busPort } of nodes)
          await redis.call('CLUSTER', 'MEET', '127.0.0.1', peer.port, busPort);
      });
    }
    await cluster.#everybody(async (redis) => (await redis.cluster('INFO')).includes('cluster_state:ok'));
    await cluster.#everybody(async (redis) =>
      (await redis.cluster('INFO')).includes(`cluster_known_nodes:${MASTERS + 1}`),
    );
    const id = await on(cluster.owner, (redis) => redis.cluster('MYID'));
    await on(cluster.replica, (redis) => redis.call('CLUSTER', 'REPLICATE', id));
    await cluster.replicated(cluster.owner);
    return cluster;
  }

  /** For REDIS_URL. */
  get url(): string {
    return `redis+cluster://${this.#nodes.map(({ redis }) => `127.0.0.1:${redis.port}`).join(',')}`;
  }

  /** Resolves when the replica of a master has what that one has. */
  async replicated(master: OwnRedis): Promise<void> {
    await on(master, (redis) =>
      eventually(async () => {
        const info = await redis.info('replication');
        return /state=online,offset=(\d+),[^]*master_repl_offset:\1\b/.test(info) ? true : undefined;
      }),
    );
  }

  /** Has a replica change places with its master, who is well: no write is lost. */
  async failover(master: OwnRedis, replica: OwnRedis): Promise<void> {
    await on(replica, (redis) => redis.call('CLUSTER', 'FAILOVER'));
    await this.promoted(replica);
    await on(master, (redis) =>
      eventually(async () =>
        (await redis.info('replication')).includes('master_link_status:up') ? true : undefined,
      ),
    );
  }

  /** Resolves when a replica has become the master. */
  async promoted(replica: OwnRedis): Promise<void> {
    await on(replica, (redis) =>
      eventually(async () => ((await redis.info('replication')).includes('role:master') ? true : undefined)),
    );
  }

  /**
   * Moves the slot and what is in it, as an administrator does, but in one step of the source: nothing that runs meanwhile
   * sees a half of it.
   */
  async moveSlot(from: OwnRedis, to: OwnRedis): Promise<void> {
    const [source, target] = [await on(from, myId), await on(to, myId)];
    await on(to, (redis) => redis.call('CLUSTER', 'SETSLOT', this.#slot, 'IMPORTING', source));
    await on(from, (redis) =>
      eventually(async () => {
        const keys = (await redis.call('CLUSTER', 'GETKEYSINSLOT', this.#slot, 1_000_000)) as string[];
        const answers = await redis
          .multi()
          .call('CLUSTER', 'SETSLOT', this.#slot, 'MIGRATING', target)
          .call('MIGRATE', '127.0.0.1', to.port, '', 0, 10_000, 'KEYS', ...keys)
          .call('CLUSTER', 'SETSLOT', this.#slot, 'NODE', target)
          .exec();
        // A key that came into being since the list was made: again, with what is left.
        return answers?.at(-1)?.[0] === null ? true : undefined;
      }),
    );
    await on(to, (redis) => redis.call('CLUSTER', 'SETSLOT', this.#slot, 'NODE', target));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map(({ redis }) => redis.stop()));
  }

  async #everybody(probe: (redis: Redis) => Promise<boolean>): Promise<void> {
    for (const { redis } of this.#nodes.slice(0, MASTERS))
      await on(redis, (node) => eventually(async () => ((await probe(node)) ? true : undefined)));
  }
}

const myId = (redis: Redis): Promise<string> => redis.cluster('MYID');

async function startNode(): Promise<Node> {
  const busPort = await freePort();
  // prettier-ignore
  const redis = await OwnRedis.start([
    '--cluster-enabled', 'yes', '--cluster-port', String(busPort),
    '--cluster-node-timeout', String(NODE_TIMEOUT_MS), '--repl-diskless-sync-delay', '0',
  ]);
  return { redis, busPort };
}

/** Lends a connection to one of the nodes. */
async function on<T>(node: OwnRedis, use: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(node.url);
  redis.on('error', () => {});
  try {
    return await use(redis);
  } finally {
    redis.disconnect();
  }
}
