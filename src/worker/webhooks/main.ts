/** Entry of a webhook process: moves events from the outbox to the delivery queue, and delivers them to receivers. */
import packageJson from '../../../package.json' with { type: 'json' };
import { BatchStore } from '../../shared/store/batches/batch-store.ts';
import { loadConfig, publicUrl, reportSettings } from '../../shared/runtime/config.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { createHealthApp, serveHealth } from '../../shared/runtime/health-server.ts';
import { createLogger } from '../../shared/runtime/logger.ts';
import { createMetrics } from '../../shared/runtime/metrics.ts';
import { JobRecords } from '../../shared/store/jobs/job-records.ts';
import { connectForWorker } from '../../shared/redis/connections.ts';
import { redisAddress } from '../../shared/redis/address.ts';
import { announceReady, onShutdown, runMain } from '../../shared/runtime/shutdown.ts';
import { startTracing } from '../../shared/runtime/start-tracing.ts';
import { DeliveryStore } from '../../shared/store/deliveries/delivery-store.ts';
import { outboxKey } from '../../shared/redis/keys.ts';
import { deliveryWindowMs } from '../../shared/store/deliveries/retry-window.ts';
import { receiverPolicy } from '../../shared/runtime/receivers.ts';
import { Secrets } from '../../shared/store/deliveries/secrets.ts';
import { Deliverer } from './deliverer.ts';
import { Outbox } from './outbox.ts';
import { SafeFetch } from './safe-fetch.ts';
import { SourceRetention } from './retention.ts';
import { createWebhookMetrics } from './webhook-metrics.ts';

/** How often deliveries beyond WEBHOOK_MAX_KEPT are deleted, and ids of expired ones removed from the lists. */
const TRIM_MS = 60_000;

await runMain(createLogger('webhooks', 'info'), async () => {
  const config = loadConfig();
  const logger = createLogger('webhooks', config.LOG_LEVEL);
  reportSettings(logger);
  const address = redisAddress(config);

  const prefix = config.REDIS_PREFIX;
  const redis = connectForWorker(address, logger, 'deliveries');
  const blocking = connectForWorker(address, logger, 'outbox');
  const records = new JobRecords(redis, prefix, config.RESULT_TTL_S);
  const batchStore = new BatchStore({
    redis,
    prefix,
    ttlS: config.BATCH_TTL_S,
    openTtlS: config.OPEN_BATCH_TTL_S,
  });
  const deliveries = new DeliveryStore(redis, prefix);
  const tracing = await startTracing({ role: 'webhooks', version: packageJson.version, logger });
  const registry = createMetrics('webhooks');
  const deliverer = new Deliverer({
    config,
    redis,
    deliveries,
    secrets: new Secrets({
      redis,
      prefix,
      keyless: config.WEBHOOK_SECRET,
      overlapMs: config.WEBHOOK_SECRET_OVERLAP_S * 1000,
    }),
    safeFetch: new SafeFetch(receiverPolicy(config), config.WEBHOOK_DNS, {
      bytes: config.WEBHOOK_MAX_RESPONSE_BYTES,
      interim: config.WEBHOOK_MAX_INTERIM_RESPONSES,
    }),
    retention: new SourceRetention(records, batchStore, { resultTtlS: config.RESULT_TTL_S }),
    payload: { publicUrl: publicUrl(config), batchTtlMs: config.BATCH_TTL_S * 1000 },
    version: packageJson.version,
    tracing,
    logger,
    onAttempt: (attempt) => countAttempt(attempt),
  });
  const countAttempt = createWebhookMetrics(registry, {
    outbox: () => whileReady(() => redis.xlen(outboxKey(prefix))),
    pending: () => whileReady(() => deliverer.pending()),
    inFlight: () => deliverer.inFlight,
    failingHosts: () => deliverer.failingHosts,
  });
  const whileReady = (read: () => Promise<number>): Promise<number> =>
    redis.status === 'ready' ? read() : Promise.reject(new Error('Redis is away'));
  const outbox = new Outbox({
    redis: blocking,
    prefix,
    logger,
    enqueue: (ids) => deliverer.enqueue(ids),
  });

  const state = { notReady: 'waiting for Redis' as string | undefined };
  const health = await serveHealth(
    createHealthApp(
      () => ({
        notReady: state.notReady ?? (redis.status === 'ready' ? undefined : 'Redis is away'),
        in_flight: deliverer.inFlight,
        failing_hosts: deliverer.failingHosts,
      }),
      registry,
    ),
    config,
    'WEBHOOK_HEALTH_',
  );
  const longestMs = deliveryWindowMs(config.WEBHOOK_RETRY_S) + config.WEBHOOK_TTL_S * 1000;
  const trim = () => {
    if (redis.status !== 'ready') return;
    deliveries.lists
      .trim(longestMs)
      .then(() => deliveries.lists.removeOldest(config.WEBHOOK_MAX_KEPT))
      .then((count) => {
        if (count > 0)
          logger.warn({ count }, 'old deliveries deleted: an API key has more than WEBHOOK_MAX_KEPT');
      })
      .catch((error: unknown) =>
        logger.warn(
          { reason: toError(error).message },
          'trimming the lists of deliveries failed; retrying in a minute',
        ),
      );
  };
  const trimming = setInterval(trim, TRIM_MS);

  onShutdown(logger, config.SHUTDOWN_TIMEOUT_MS, async () => {
    state.notReady = 'the process is stopping';
    clearInterval(trimming);
    // Nothing to wait for without Redis and without an attempt in flight.
    if (redis.status === 'ready' || deliverer.inFlight > 0) {
      await outbox.stop();
      await deliverer.drain();
    }
    await health.close();
    await tracing.stop();
    redis.disconnect();
  });

  await redis.ping();
  trim();
  outbox.start();
  deliverer.start();
  state.notReady = undefined;
  logger.info({ port: health.port }, 'delivering webhooks');
  announceReady(`health on ${config.WEBHOOK_HEALTH_HOST}:${health.port}`);
});
