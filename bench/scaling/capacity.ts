/** Capacity of a number of cores, computed from the CPU cost of a row in each process. */

export interface Use {
  name: string;
  /** µs of CPU per row, from docs/benchmarks.md. */
  cost: { model: number; worker: number; api: number; redis: number };
}

export const USES: readonly Use[] = [
  { name: 'MiniLM, batches', cost: { model: 1602, worker: 95, api: 9, redis: 4 } },
  { name: 'DistilBERT, batches', cost: { model: 6050, worker: 197, api: 30, redis: 13 } },
  { name: 'MiniLM, single jobs', cost: { model: 2357, worker: 310, api: 330, redis: 193 } },
  { name: 'DistilBERT, single jobs', cost: { model: 6929, worker: 429, api: 443, redis: 271 } },
];

/** Highest useful load of API, worker and Redis, which run on one core each. Above it their callers wait. */
export const BUSY = 0.7;

const MICROS = 1e6;

export interface Capacity {
  rowsPerSecond: number;
  /** API processes, and Redis servers, none of them busier than BUSY. */
  apis: number;
  redisServers: number;
}

/** @param cores of the workers, their model processes included */
export function capacity({ cost }: Use, cores: number): Capacity {
  const rowsPerSecond = (cores * MICROS) / (cost.model + cost.worker);
  const servers = (micros: number) => Math.ceil((rowsPerSecond * micros) / MICROS / BUSY);
  return { rowsPerSecond, apis: servers(cost.api), redisServers: servers(cost.redis) };
}

/** Rows per second, and cores of workers, at which one Redis reaches BUSY. */
export function limitOfOneRedis({ cost }: Use): { rowsPerSecond: number; cores: number } {
  const rowsPerSecond = (BUSY * MICROS) / cost.redis;
  return { rowsPerSecond, cores: (rowsPerSecond * (cost.model + cost.worker)) / MICROS };
}

/** Model processes that one worker can feed: its tokenizer, batches and queue share one core. */
export function processesPerWorker({ cost }: Use): number {
  return Math.floor((BUSY * cost.model) / cost.worker);
}

/** A figure with two significant digits, as precise as the estimate: `180,000`. */
export function readable(value: number): string {
  return Number(value.toPrecision(2)).toLocaleString('en-US');
}
