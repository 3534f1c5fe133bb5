/** Entry of the API: listens at once, and answers 503 until Redis is reachable. */
import packageJson from '../../package.json' with { type: 'json' };
import { reportBlobStore } from '../shared/blobs/open.ts';
import { redisAddress } from '../shared/redis/address.ts';
import { connectFailFast, connectSubscriber, createRedisGuard } from '../shared/redis/connections.ts';
import { KeySet } from '../shared/runtime/api-keys.ts';
import { hasKeys, loadApiConfig, reportSettings, type Config } from '../shared/runtime/config.ts';
import { serveHealth } from '../shared/runtime/health-server.ts';
import { listen } from '../shared/runtime/listen.ts';
import { createLogger, type Logger } from '../shared/runtime/logger.ts';
import { createMetrics, createMetricsApp } from '../shared/runtime/metrics.ts';
import { announceReady, onReload, onShutdown, runMain } from '../shared/runtime/shutdown.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { startTracing } from '../shared/runtime/start-tracing.ts';
import { createApp } from './app.ts';
import { closeHttpServer, createHttpServer } from './http-server.ts';
import { ReloadableKeys } from './key-file.ts';
import { watchDurability } from './load/durability.ts';
import { inFlightLimits } from './load/in-flight.ts';
import { startMaintenance } from './maintenance.ts';
import { ApiMetrics } from './metrics.ts';
import { observe } from './middleware/observe.ts';
import { OpenRequests } from './middleware/open-requests.ts';
import { rateLimit } from './middleware/rate-limit.ts';
import { createServices } from './services.ts';

await runMain(createLogger('api', 'info'), async () => {
  const config = loadApiConfig();
  const logger = createLogger('api', config.LOG_LEVEL);
  reportSettings(logger);
  const tracing = await startTracing({ role: 'api', version: packageJson.version, logger });
  const prometheus = createMetrics('api');
  const metrics = new ApiMetrics(prometheus);
  const requests = new OpenRequests();
  const keys = await openKeys(config, { requests, logger });

  const redisServer = redisAddress(config);
  const redis = connectFailFast(redisServer, config.REDIS_TIMEOUT_MS, logger, 'api');
  const subscriber = connectSubscriber(redisServer, logger, 'waiters');
  const withRedis = createRedisGuard(redis, config.REDIS_TIMEOUT_MS);
  const durability = watchDurability(redis, logger);

  const services = createServices({ config, redis, subscriber, withRedis, tracing, metrics, logger });
  const { catalog, directCalls, queues, waiters, disks } = services;
  const inFlight = inFlightLimits(config);
  metrics.watch({ ...services, openWaits: () => waiters.size, inFlight, keys: () => keys });
  const stopMaintenance = startMaintenance(services, logger);

  const admins = new KeySet(config.ADMIN_KEYS);
  // Without admins, the packages of the board are not even loaded.
  const board =
    admins.size === 0
      ? undefined
      : (await import('./routes/board.ts')).createBoard({ admins, catalog, queues, withRedis });
  const stopping = new AbortController();
  const app = createApp({
    ...services,
    config,
    keys,
    admins,
    board,
    requests,
    inFlight,
    withRedis,
    durability,
    limit: rateLimit({
      redis,
      withRedis,
      prefix: config.REDIS_PREFIX,
      perMinute: config.RATE_LIMIT_PER_MINUTE,
    }),
    observe: observe(metrics, tracing),
    stopping: stopping.signal,
    version: packageJson.version,
    logger,
  });
  const server = createHttpServer(app.fetch, config);
  await reportBlobStore(services.blobs, logger);
  await disks.check();
  const metricsServer = await serveHealth(createMetricsApp(prometheus), config, 'METRICS_');
  await listen(server, { host: config.HOST, port: config.PORT, prefix: '' });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.PORT;

  onShutdown(logger, config.SHUTDOWN_TIMEOUT_MS, async () => {
    stopMaintenance();
    keys?.stop();
    stopping.abort();
    await closeHttpServer(server, () => waiters.close());
    await directCalls.close();
    await metricsServer.close();
    await tracing.stop();
    await queues
      .close()
      .catch((error: unknown) => logger.warn({ err: toError(error) }, 'closing queues failed'));
    subscriber.disconnect();
    redis.disconnect();
  });
  logger.info({ host: config.HOST, port, metrics: metricsServer.port }, 'listening');
  announceReady(`http://${config.HOST.includes(':') ? `[${config.HOST}]` : config.HOST}:${port}`);
});

/** The API keys, which are read again when their file changes and at SIGHUP; undefined where there are none. */
async function openKeys(
  config: Config,
  { requests, logger }: { requests: OpenRequests; logger: Logger },
): Promise<ReloadableKeys | undefined> {
  const keys = hasKeys(config)
    ? await ReloadableKeys.open({
        config,
        logger,
        onChange: (now) => {
          const ended = requests.endInvalid((key) => now.has(key));
          if (ended > 0) logger.info({ requests: ended }, 'requests of removed API keys are ended');
        },
      })
    : undefined;
  keys?.watch();
  onReload(() => {
    if (keys) void keys.reload();
    else logger.warn('SIGHUP: no API keys to reload; settings are read only at start');
  });
  if (config.AUTH === 'optional' && !keys)
    logger.warn('no API keys are set: anyone who reaches this port may call');
  return keys;
}
