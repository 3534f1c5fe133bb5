/** Entry of the API: listens at once and answers 503 until Redis is there. */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import packageJson from '../../package.json' with { type: 'json' };
import { KeySet } from '../shared/runtime/api-keys.ts';
import { Backlog } from '../shared/store/jobs/backlog.ts';
import { BatchStore } from '../shared/store/batches/batch-store.ts';
import { blobFolder, lazyBlobStore, reportBlobStore } from '../shared/blobs/blob-store.ts';
import { blobUrl, hasKeys, loadApiConfig, reportSettings } from '../shared/runtime/config.ts';
import { DiskReserve } from '../shared/runtime/disk-reserve.ts';
import { redisFolder } from '../shared/runtime/environment.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { serveHealth } from '../shared/runtime/health-server.ts';
import { closeWhenIdle, keepAlive, listen } from '../shared/runtime/listen.ts';
import { createLogger } from '../shared/runtime/logger.ts';
import { createMetrics, createMetricsApp } from '../shared/runtime/metrics.ts';
import { JobRecords } from '../shared/store/jobs/job-records.ts';
import { connectFailFast, connectSubscriber, createRedisGuard } from '../shared/redis/connections.ts';
import { redisAt } from '../shared/redis/address.ts';
import { ModelRegistry } from '../shared/store/models.ts';
import { announceReady, onReload, onShutdown, runMain } from '../shared/runtime/shutdown.ts';
import { startTracing } from '../shared/runtime/tracing.ts';
import { DeliveryStore } from '../shared/store/deliveries/delivery-store.ts';
import { Secrets } from '../shared/store/deliveries/secrets.ts';
import { pendingMs } from '../shared/store/deliveries/retry-window.ts';
import { Admission } from './load/admission.ts';
import { createApp } from './app.ts';
import { BatchKeeper } from './batches/maintenance.ts';
import { BatchResults } from './batches/batch-results.ts';
import { BatchService } from './batches/batch-service.ts';
import { ModelCatalog } from './model-catalog.ts';
import { limitConnections, closingStuckConnections } from './load/connections.ts';
import { DiskWatch } from './load/disk-watch.ts';
import { readDurability, reportDurability, type Durability } from './load/durability.ts';
import { inFlightLimits } from './load/in-flight.ts';
import { JobMaintenance } from './jobs/maintenance.ts';
import { JobService } from './jobs/job-service.ts';
import { ReloadableKeys } from './key-file.ts';
import { loadReader } from './load/load.ts';
import { ApiMetrics } from './metrics.ts';
import { observe } from './middleware/observe.ts';
import { OpenRequests } from './middleware/open-requests.ts';
import { rateLimit } from './middleware/rate-limit.ts';
import { GroupCommit } from './jobs/group-commit.ts';
import { oneAtATime } from './load/pipelining.ts';
import { QueueSet } from '../shared/store/jobs/queue-set.ts';
import { Stats } from './load/stats.ts';
import { Waiters } from './jobs/waiters.ts';
import { WebhookService } from './webhooks.ts';

/** How often the deadlines of waiting jobs are looked at. */
const SWEEP_MS = 1000;
/** How often batches are looked after. */
const KEEP_MS = 5000;
/** How often lists and backlogs are looked after. */
const KEEP_JOBS_MS = 60_000;
/** How long requests in flight may go on after the server stopped listening. */
const GRACE_MS = 5000;

await runMain(createLogger('api', 'info'), async () => {
  const config = loadApiConfig();
  const logger = createLogger('api', config.LOG_LEVEL);
  reportSettings(logger);
  const redisAddress = redisAt(config);

  const tracing = await startTracing({ role: 'api', version: packageJson.version, logger });
  const figures = createMetrics('api');
  const metrics = new ApiMetrics(figures);
  const requests = new OpenRequests();
  const keys = hasKeys(config)
    ? await ReloadableKeys.open({
        config,
        logger,
        onChange: (now) => {
          const ended = requests.end((key) => now.has(key));
          if (ended > 0)
            logger.info({ requests: ended }, 'requests of keys that were taken away are broken off');
        },
      })
    : undefined;
  keys?.watch();
  onReload(() => {
    if (keys) void keys.reload();
    else
      logger.warn('SIGHUP: there are no API keys that could be read again; settings are read at start alone');
  });
  if (config.AUTH === 'optional' && !keys)
    logger.warn('there are no API keys: everybody who reaches this port may call');
  const redis = connectFailFast(redisAddress, config.REDIS_TIMEOUT_MS, logger, 'api');
  const subscriber = connectSubscriber(redisAddress, logger, 'waiters');
  const withRedis = createRedisGuard(redis, config.REDIS_TIMEOUT_MS);
  const records = new JobRecords(
    redis,
    config.REDIS_PREFIX,
    config.RESULT_TTL_S,
    pendingMs(config.WEBHOOK_RETRY_S) / 1000,
  );
  const queues = new QueueSet(redis, config.REDIS_PREFIX, tracing.bullmq);
  const registry = new ModelRegistry(redis, config.REDIS_PREFIX);
  const catalog = new ModelCatalog(registry, config.DEFAULT_MODEL);
  const instance = randomBytes(6).toString('hex');
  const waiters = new Waiters({
    subscriber,
    records,
    channel: `${config.REDIS_PREFIX}:api:${instance}`,
    logger,
    onEnd: (settled) => metrics.waited(settled),
  });
  const backlog = new Backlog(redis, config.REDIS_PREFIX);
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
  const admission = new Admission({ config, redis, backlog, redisDisk });
  const jobs = new JobService({
    config,
    redis,
    withRedis,
    records,
    queues,
    groupCommit: new GroupCommit(queues, backlog, config.RESULT_TTL_S, tracing),
    backlog,
    admission,
    catalog,
    waiters,
    tracing,
    onSubmit: (model, priority, texts) => metrics.submitted(model, priority, texts),
  });
  const jobMaintenance = new JobMaintenance({
    redis,
    prefix: config.REDIS_PREFIX,
    records,
    queues,
    backlog,
    resultTtlS: config.RESULT_TTL_S,
  });

  const blobs = lazyBlobStore(blobUrl(config), config.MIN_FREE_DISK_BYTES);
  const batchStore = new BatchStore({
    redis,
    prefix: config.REDIS_PREFIX,
    ttlS: config.BATCH_TTL_S,
    openTtlS: config.OPEN_BATCH_TTL_S,
  });
  const common = { config, redis, withRedis, batches: batchStore, blobs };
  const keeper = new BatchKeeper({ ...common, queues, registry, logger });
  const batches = new BatchService({
    ...common,
    catalog,
    admission,
    keeper,
    onUpload: (bytes) => metrics.uploaded(bytes),
  });
  const results = new BatchResults({ ...common, subscriber });
  const webhooks = new WebhookService({
    config,
    withRedis,
    admission,
    deliveries: new DeliveryStore(redis, config.REDIS_PREFIX),
    secrets: new Secrets({
      redis,
      prefix: config.REDIS_PREFIX,
      keyless: config.WEBHOOK_SECRET,
      overlapMs: config.WEBHOOK_SECRET_OVERLAP_S * 1000,
    }),
    dequeue: async (jobId) => {
      await (await queues.getDeliveries()).remove(jobId).catch(() => 0);
    },
    onCancel: () => metrics.deliveryCanceled(),
  });
  const stopping = new AbortController();
  const inFlight = inFlightLimits(config);

  let durability: Durability | undefined;
  redis.on('ready', () => {
    readDurability(redis).then(
      (read) => {
        if (durability?.note !== read.note) reportDurability(read, logger);
        durability = read;
      },
      () => {},
    );
  });
  const sweeper = setInterval(() => {
    // Redis away: the deadlines are looked at when it is back.
    jobs.sweepExpired().catch(() => {});
  }, SWEEP_MS);

  const housekeeping = setInterval(() => {
    void disks.check();
    keeper
      .keep()
      .catch((error: unknown) =>
        logger.debug({ reason: toError(error).message }, 'batches are looked after later'),
      );
  }, KEEP_MS);

  const jobKeeping = setInterval(() => {
    jobMaintenance
      .run()
      .catch((error: unknown) =>
        logger.debug({ reason: toError(error).message }, 'lists of jobs are looked after later'),
      );
  }, KEEP_JOBS_MS);

  const stats = new Stats({ withRedis, backlog, batches: batchStore, catalog });
  metrics.watch({
    load: loadReader({ redis, withRedis, backlog, batches: batchStore, stats }),
    openWaits: () => waiters.size,
    inFlight,
    keys: () => keys,
    disks,
  });
  const admins = new KeySet(config.ADMIN_KEYS);
  // Its packages are not even loaded where nobody may see it.
  const board =
    admins.size === 0
      ? undefined
      : (await import('./routes/board.ts')).createBoard({ admins, catalog, queues, withRedis });
  const app = createApp({
    config,
    jobs,
    batches,
    results,
    webhooks,
    stopping: stopping.signal,
    catalog,
    stats,
    withRedis,
    durability: () => durability,
    version: packageJson.version,
    keys,
    requests,
    limit: rateLimit({
      redis,
      withRedis,
      prefix: config.REDIS_PREFIX,
      perMinute: config.RATE_LIMIT_PER_MINUTE,
    }),
    inFlight,
    observe: observe(metrics, tracing),
    board,
    logger,
  });
  const answer = getRequestListener(app.fetch);
  const handle = closingStuckConnections((request, response) => void answer(request, response));
  const server = createServer(oneAtATime(handle, config.MAX_PIPELINED_REQUESTS));
  limitConnections(server, {
    maxConnections: config.MAX_CONNECTIONS,
    answerIdleMs: config.ANSWER_IDLE_S * 1000,
  });
  keepAlive(server, config.KEEP_ALIVE_S);
  // Node's default ends every request after 5 minutes, and with it long uploads; upload.ts watches those itself.
  if ('requestTimeout' in server) server.requestTimeout = 0;
  await reportBlobStore(blobs, logger);
  await disks.check();
  const scraped = await serveHealth(createMetricsApp(figures), config, 'METRICS_');
  await listen(server, { host: config.HOST, port: config.PORT, prefix: '' });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.PORT;

  onShutdown(logger, config.SHUTDOWN_TIMEOUT_MS, async () => {
    clearInterval(sweeper);
    clearInterval(housekeeping);
    clearInterval(jobKeeping);
    keys?.stop();
    stopping.abort();
    const closed = closeWhenIdle(server);
    const grace = setTimeout(() => waiters.close(), GRACE_MS);
    const last = setTimeout(() => {
      if ('closeAllConnections' in server) server.closeAllConnections();
    }, GRACE_MS + 1000);
    await closed;
    clearTimeout(grace);
    clearTimeout(last);
    waiters.close();
    await scraped.close();
    await tracing.stop();
    await queues.close().catch((error: unknown) => logger.warn({ err: toError(error) }, 'closing queues'));
    subscriber.disconnect();
    redis.disconnect();
  });
  logger.info({ host: config.HOST, port, metrics: scraped.port }, 'listening');
  announceReady(`http://${config.HOST.includes(':') ? `[${config.HOST}]` : config.HOST}:${port}`);
});
