/** The dependencies of the parts of an API instance, described once: each part names those that it takes, as in `Deps<'redis'>`. */
import type { Redis } from 'ioredis';
import type { LazyBlobStore } from '../shared/blobs/blob-store.ts';
import type { WithRedis } from '../shared/redis/connections.ts';
import type { Config } from '../shared/runtime/config.ts';
import type { Logger } from '../shared/runtime/logger.ts';
import type { Tracing } from '../shared/runtime/tracing.ts';
import type { BatchStore } from '../shared/store/batches/batch-store.ts';
import type { Backlog } from '../shared/store/jobs/backlog.ts';
import type { JobRecords } from '../shared/store/jobs/job-records.ts';
import type { QueueSet } from '../shared/store/jobs/queue-set.ts';
import type { ModelRegistry } from '../shared/store/models.ts';
import type { Waiters } from './jobs/waiters.ts';
import type { Admission } from './load/admission.ts';
import type { ModelCatalog } from './model-catalog.ts';

export interface SharedDeps {
  config: Config;
  /** Of all keys in Redis: REDIS_PREFIX. */
  prefix: string;
  /** How long a finished job can be read, in seconds: RESULT_TTL_S. */
  resultTtlS: number;
  redis: Redis;
  /** Used only for subscriptions. */
  subscriber: Redis;
  withRedis: WithRedis;
  records: JobRecords;
  queues: QueueSet;
  backlog: Backlog;
  registry: ModelRegistry;
  catalog: ModelCatalog;
  admission: Admission;
  waiters: Waiters;
  batchStore: BatchStore;
  blobs: LazyBlobStore;
  tracing: Tracing;
  logger: Logger;
}

export type Deps<Name extends keyof SharedDeps> = Pick<SharedDeps, Name>;
