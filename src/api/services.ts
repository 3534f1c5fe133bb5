/** Puts the services of an API instance together: jobs, batches and webhooks, over one connection to Redis. */
import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { blobFolder, lazyBlobStore } from '../shared/blobs/open.ts';
import type { WithRedis } from '../shared/redis/connections.ts';
import { instanceChannel } from '../shared/redis/keys.ts';
import { blobUrl, type Config } from '../shared/runtime/config.ts';
import { DiskReserve } from '../shared/runtime/disk-reserve.ts';
import { redisFolder } from '../shared/runtime/environment.ts';
import type { Logger } from '../shared/runtime/logger.ts';
import type { Tracing } from '../shared/runtime/tracing.ts';
import { BatchStore } from '../shared/store/batches/batch-store.ts';
import { DeliveryStore } from '../shared/store/deliveries/delivery-store.ts';
import { deliveryWindowMs } from '../shared/store/deliveries/retry-window.ts';
import { Secrets } from '../shared/store/deliveries/secrets.ts';
import { Backlog } from '../shared/store/jobs/backlog.ts';
import { JobRecords } from '../shared/store/jobs/job-records.ts';
import { QueueSet } from '../shared/store/jobs/queue-set.ts';
import { ModelRegistry } from '../shared/store/models.ts';
import { BatchQueue } from './batches/batch-queue.ts';
import { BatchResults } from './batches/batch-results.ts';
import { BatchService } from './batches/batch-service.ts';
import { BlobRemoval } from './batches/blob-removal.ts';
import { BatchMaintenance } from './batches/maintenance.ts';
import { PartUploads } from './batches/part-uploads.ts';
import { GroupCommit } from './jobs/group-commit.ts';
import { JobReader } from './jobs/job-reader.ts';
import { JobService } from './jobs/job-service.ts';
import { JobSubmission } from './jobs/job-submission.ts';
import { JobMaintenance } from './jobs/maintenance.ts';
import { Waiters } from './jobs/waiters.ts';
import { Admission } from './load/admission.ts';
import { DiskWatch } from './load/disk-watch.ts';
import { loadReader } from './load/load.ts';
import { Stats } from './load/stats.ts';
import type { ApiMetrics } from './metrics.ts';
import { ModelCatalog } from './model-catalog.ts';
import { WebhookService } from './webhooks.ts';

export interface ServicesDeps {
  config: Config;
  redis: Redis;
  /** Used only for subscriptions. */
  subscriber: Redis;
  withRedis: WithRedis;
  tracing: Tracing;
  metrics: ApiMetrics;
  logger: Logger;
}

export function createServices({
  config,
  redis,
  subscriber,
  withRedis,
  tracing,
  metrics,
  logger,
}: ServicesDeps) {
  const prefix = config.REDIS_PREFIX;
  const retryWindowS = deliveryWindowMs(config.WEBHOOK_RETRY_S) / 1000;
  const records = new JobRecords(redis, prefix, config.RESULT_TTL_S, retryWindowS);
  const queues = new QueueSet(redis, prefix, tracing.bullmq);
  const backlog = new Backlog(redis, prefix);
  const modelRegistry = new ModelRegistry(redis, prefix);
  const catalog = new ModelCatalog(modelRegistry, config.DEFAULT_MODEL);
  const { disks, redisDisk } = watchedDisks(config, logger);
  const admission = new Admission({ config, redis, backlog, redisDisk });

  const waiters = new Waiters({
    subscriber,
    records,
    channel: instanceChannel(prefix, randomBytes(6).toString('hex')),
    logger,
    onEnd: (outcome) => metrics.waited(outcome),
  });
  const reader = new JobReader({ redis, records, queues, backlog, catalog });
  const jobs = new JobService({ redis, prefix, withRedis, records, reader, queues, waiters });
  const submission = new JobSubmission({
    config,
    redis,
    withRedis,
    records,
    reader,
    groupCommit: new GroupCommit(queues, backlog, config.RESULT_TTL_S, tracing),
    admission,
    catalog,
    waiters,
    jobs,
    tracing,
    onSubmit: (model, priority, texts) => metrics.submitted(model, priority, texts),
  });
  const jobMaintenance = new JobMaintenance({
    redis,
    prefix,
    records,
    queues,
    backlog,
    resultTtlS: config.RESULT_TTL_S,
  });

  const blobs = lazyBlobStore(blobUrl(config), config.MIN_FREE_DISK_BYTES);
  const batchStore = new BatchStore({
    redis,
    prefix,
    ttlS: config.BATCH_TTL_S,
    openTtlS: config.OPEN_BATCH_TTL_S,
  });
  const common = { config, redis, withRedis, batchStore, blobs };
  const batchQueue = new BatchQueue({ ...common, queues, registry: modelRegistry });
  const blobRemoval = new BlobRemoval({ ...common, logger });
  const batchMaintenance = new BatchMaintenance({ ...common, queue: batchQueue, blobRemoval });
  const batches = new BatchService({
    ...common,
    catalog,
    admission,
    queue: batchQueue,
    uploads: new PartUploads({ ...common, admission, onUpload: (bytes) => metrics.uploaded(bytes) }),
    blobRemoval,
  });
  const results = new BatchResults({ ...common, subscriber });

  const webhooks = new WebhookService({
    config,
    withRedis,
    admission,
    deliveries: new DeliveryStore(redis, prefix),
    secrets: new Secrets({
      redis,
      prefix,
      keyless: config.WEBHOOK_SECRET,
      overlapMs: config.WEBHOOK_SECRET_OVERLAP_S * 1000,
    }),
    dequeue: async (jobId) => {
      await (await queues.getDeliveries()).remove(jobId).catch(() => 0);
    },
    onCancel: () => metrics.deliveryCanceled(),
  });

  const stats = new Stats({ withRedis, backlog, batchStore, catalog });
  const load = loadReader({ redis, withRedis, backlog, batchStore, stats });
  return {
    ...{ jobs, submission, jobMaintenance, waiters, queues, catalog },
    ...{ batches, results, batchMaintenance, blobs, webhooks, stats, load, disks },
  };
}

/** The disks of this machine that batches and Redis write to, as far as they are known. */
function watchedDisks(config: Config, logger: Logger) {
  const reserveOf = (folder: string | undefined) =>
    folder === undefined ? undefined : new DiskReserve(folder, config.MIN_FREE_DISK_BYTES);
  const redisDisk = reserveOf(redisFolder());
  const batchDisk = reserveOf(blobFolder(blobUrl(config)));
  const disks = new DiskWatch(
    [
      ...(batchDisk ? [{ disk: 'batches' as const, reserve: batchDisk }] : []),
      ...(redisDisk ? [{ disk: 'redis' as const, reserve: redisDisk }] : []),
    ],
    logger,
  );
  return { disks, redisDisk };
}
