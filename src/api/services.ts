/** Puts the services of an API instance together: jobs, batches and webhooks, over one connection to Redis. */
import { randomBytes } from 'node:crypto';
import { blobFolder, lazyBlobStore } from '../shared/blobs/open.ts';
import { earlyChannel, instanceChannel } from '../shared/redis/keys.ts';
import { blobUrl, type Config } from '../shared/runtime/config.ts';
import { DiskReserve } from '../shared/runtime/disk-reserve.ts';
import { redisFolder } from '../shared/runtime/environment.ts';
import { BatchStore } from '../shared/store/batches/batch-store.ts';
import { DeliveryStore } from '../shared/store/deliveries/delivery-store.ts';
import { deliveryWindowMs } from '../shared/store/deliveries/retry-window.ts';
import { Secrets } from '../shared/store/deliveries/secrets.ts';
import { Backlog } from '../shared/store/jobs/backlog.ts';
import { JobRecords } from '../shared/store/jobs/job-records.ts';
import { QueueSet } from '../shared/store/jobs/queue-set.ts';
import { ModelRegistry } from '../shared/store/models.ts';
import type { Deps, SharedDeps } from './deps.ts';
import { BatchQueue } from './batches/batch-queue.ts';
import { BatchResults } from './batches/batch-results.ts';
import { BatchService } from './batches/batch-service.ts';
import { BlobRemoval } from './batches/blob-removal.ts';
import { BatchMaintenance } from './batches/maintenance.ts';
import { PartUploads } from './batches/part-uploads.ts';
import { DirectCalls } from './jobs/direct-calls.ts';
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
import { UnservedWork } from './load/unserved-work.ts';
import type { ApiMetrics } from './metrics.ts';
import { ModelCatalog } from './model-catalog.ts';
import { WebhookService } from './webhooks.ts';

export interface ServicesDeps extends Deps<
  'config' | 'redis' | 'subscriber' | 'withRedis' | 'tracing' | 'logger'
> {
  metrics: ApiMetrics;
}

export function createServices(given: ServicesDeps) {
  const { config, redis, subscriber, tracing, metrics, logger } = given;
  const prefix = config.REDIS_PREFIX;
  const resultTtlS = config.RESULT_TTL_S;
  const retryWindowS = deliveryWindowMs(config.WEBHOOK_RETRY_S) / 1000;
  const records = new JobRecords(redis, prefix, resultTtlS, retryWindowS);
  const backlog = new Backlog(redis, prefix);
  const registry = new ModelRegistry(redis, prefix);
  const catalog = new ModelCatalog(registry, config.DEFAULT_MODEL);
  const batchDisk = reserveOf(blobFolder(blobUrl(config)), config);
  const redisDisk = reserveOf(redisFolder(), config);
  const instance = randomBytes(6).toString('hex');
  const shared: SharedDeps = {
    ...given,
    prefix,
    resultTtlS,
    records,
    queues: new QueueSet(redis, prefix, tracing.bullmq),
    backlog,
    registry,
    catalog,
    admission: new Admission({ config, redis, backlog, redisDisk }),
    waiters: new Waiters({
      subscriber,
      records,
      channel: instanceChannel(prefix, instance),
      earlyChannel: earlyChannel(prefix, instance),
      logger,
      onEnd: (outcome) => metrics.waited(outcome),
    }),
    batchStore: new BatchStore({
      redis,
      prefix,
      ttlS: config.BATCH_TTL_S,
      openTtlS: config.OPEN_BATCH_TTL_S,
    }),
    blobs: lazyBlobStore(blobUrl(config), config.MIN_FREE_DISK_BYTES),
  };
  const { queues, waiters, blobs } = shared;

  const reader = new JobReader(shared);
  const jobs = new JobService({ ...shared, reader });
  const onSubmit = metrics.submitted.bind(metrics);
  const directCalls = new DirectCalls({ ...shared, onSubmit });
  const submission = new JobSubmission({
    ...shared,
    reader,
    jobs,
    groupCommit: new GroupCommit(shared),
    directCalls,
    onSubmit,
  });
  const jobMaintenance = new JobMaintenance(shared);

  const queue = new BatchQueue(shared);
  const blobRemoval = new BlobRemoval(shared);
  const batchMaintenance = new BatchMaintenance({ ...shared, queue, blobRemoval });
  const uploads = new PartUploads({ ...shared, onUpload: (bytes) => metrics.uploaded(bytes) });
  const batches = new BatchService({ ...shared, queue, uploads, blobRemoval });
  const results = new BatchResults(shared);

  const webhooks = new WebhookService({
    ...shared,
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

  const stats = new Stats(shared);
  const load = loadReader({ ...shared, stats });
  const unservedWork = new UnservedWork({
    ...shared,
    stats,
    defaultModel: config.DEFAULT_MODEL,
    redisUrl: config.REDIS_URL,
  });
  const disks = new DiskWatch({ batches: batchDisk, redis: redisDisk }, logger);
  return {
    ...{ jobs, submission, directCalls, jobMaintenance, waiters, queues, catalog },
    ...{ batches, results, batchMaintenance, blobs, webhooks, stats, load, disks, unservedWork },
  };
}

export type Services = ReturnType<typeof createServices>;

/** The reserve of a disk of this machine; undefined where its folder is not known. */
function reserveOf(folder: string | undefined, { MIN_FREE_DISK_BYTES }: Config): DiskReserve | undefined {
  return folder === undefined ? undefined : new DiskReserve(folder, MIN_FREE_DISK_BYTES);
}
