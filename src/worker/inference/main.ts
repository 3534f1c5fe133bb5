/** Entry of an inference worker: loads and tries the model, announces it, consumes jobs and chunks, and drains on SIGTERM. */
import { hostname } from 'node:os';
import path from 'node:path';
import packageJson from '../../../package.json' with { type: 'json' };
import { BatchStore } from '../../shared/store/batches/batch-store.ts';
import { lazyBlobStore, reportBlobStore } from '../../shared/blobs/open.ts';
import { blobUrl, loadConfig, reportSettings } from '../../shared/runtime/config.ts';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { createHealthApp, serveHealth } from '../../shared/runtime/health-server.ts';
import { createLogger, type Logger } from '../../shared/runtime/logger.ts';
import { createMetrics } from '../../shared/runtime/metrics.ts';
import { NAME, NAME_RULE } from '../../shared/contract/names.ts';
import { JobRecords } from '../../shared/store/jobs/job-records.ts';
import { connectForWorker, connectSubscriber } from '../../shared/redis/connections.ts';
import { redisAddress } from '../../shared/redis/address.ts';
import { ModelRegistry } from '../../shared/store/models.ts';
import { announceReady, onShutdown, runMain } from '../../shared/runtime/shutdown.ts';
import { startTracing } from '../../shared/runtime/start-tracing.ts';
import { deliveryWindowMs } from '../../shared/store/deliveries/retry-window.ts';
import { Batcher, type Lane } from './batcher.ts';
import { BulkConsumer } from './bulk-consumer.ts';
import { calibrate } from './calibration.ts';
import { Classifier, type TextRow } from './classifier.ts';
import { Consumer } from './consumer.ts';
import { EnginePool, optionsOf } from './engine-pool.ts';
import { startHeartbeat } from './heartbeat.ts';
import { labelsOf, readModelFolder } from './model-folder.ts';
import { ResultCache } from './result-cache.ts';
import { TextTokenizer } from './tokenizer.ts';
import { batcherOptions, classifyFirstText, probeModel, type ModelProbe } from './model-probe.ts';
import { createWorkerMetrics } from './worker-metrics.ts';

const bootLogger = createLogger('worker', 'info');

await runMain(bootLogger, async () => {
  const config = loadConfig();
  const logger = createLogger('worker', config.LOG_LEVEL);
  reportSettings(logger);
  const address = redisAddress(config);

  const folder = readModelFolder(config.MODEL_DIR, config.MODEL_FILE);
  const name = config.MODEL_NAME ?? path.basename(folder.folder);
  if (!NAME.test(name)) {
    throw new StartupError(`${name} cannot be the name of a model, which needs ${NAME_RULE}: set MODEL_NAME`);
  }
  const model = { name, revision: folder.revision };
  const state = { notReady: 'the model is loading' as string | undefined };
  let engines: EnginePool | undefined;
  let consumer: Consumer | undefined;
  let bulk: BulkConsumer | undefined;
  let batcher: Batcher<TextRow, Float32Array> | undefined;
  let results: ResultCache | undefined;
  let budgets: Record<Lane, number> | undefined;
  const tracing = await startTracing({ role: 'worker', version: packageJson.version, logger });
  const registry = createMetrics('worker', { model: name });
  const metrics = createWorkerMetrics(registry, () => ({
    texts: consumer?.rowsInFlight ?? 0,
    chunks: bulk?.chunksInFlight ?? 0,
    restarts: engines?.restarts ?? 0,
    rows: { hit: results?.hits ?? 0, shared: batcher?.rows.shared ?? 0, miss: batcher?.rows.own ?? 0 },
    cachedBytes: results?.bytes ?? 0,
  }));
  const health = await serveHealth(
    createHealthApp(
      () => ({
        notReady:
          state.notReady ??
          (engines?.up ? undefined : 'the model process is restarting') ??
          (redis.status === 'ready' ? undefined : 'Redis is away'),
        model,
        rows_in_hand: consumer?.rowsInFlight ?? 0,
        jobs_in_hand: consumer?.jobsInFlight ?? 0,
        chunks_in_hand: bulk?.chunksInFlight ?? 0,
        batch_tokens: budgets,
        model_restarts: engines?.restarts ?? 0,
        model_pids: engines?.pids ?? [],
      }),
      registry,
    ),
    config,
    'WORKER_',
  );

  const start = performance.now();
  let serving = false;
  const observe = (ms: number) => {
    if (serving) metrics.textEncoded(ms);
  };
  const starting = EnginePool.start(config.MODEL_PROCESSES, {
    ...optionsOf(folder, config),
    logger,
    onGiveUp: (error) => {
      logger.fatal(
        { err: error },
        'worker ends because its model cannot be restarted; other workers take over its jobs',
      );
      process.exit(1);
    },
    // Batches of the probe and of the calibration are not counted.
    onRun: (run) => {
      if (serving) metrics.batchRan(run);
    },
  });
  // The tokenizer is loaded while the model processes start. If both fail, the tokenizer's error is the one reported.
  starting.catch(() => {});
  const wholeTokenizer = new TextTokenizer(folder.folder, folder.maxTokens, {
    languages: folder.amulet.languages,
    observe,
  });
  const running = await starting;
  engines = running;
  const named = labelsOf(folder, running.outputs);
  const { labels } = named;
  logger.info(
    { ...model, labels: labels.length, ms: Math.round(performance.now() - start) },
    'model loaded and warmed up',
  );
  const probe = await probeModel({
    model: folder,
    tokenizer: wholeTokenizer,
    observe,
    engines: running,
    apply: named.apply,
    invariance: config.BATCH_INVARIANCE,
  });
  const { tokenizer, maxTokens, apply, applied } = probe;
  reportProbe(probe, logger);

  const calibrated = await calibrate(running, probe, config, logger);
  budgets = calibrated.budgets;
  metrics.budgets(budgets);
  const { RESULT_CACHE_BYTES } = config;
  // Scores that depend on the other rows of a batch are shared by equal rows in flight, but not kept.
  if (RESULT_CACHE_BYTES > 0) results = new ResultCache(probe.batchDependence === 0 ? RESULT_CACHE_BYTES : 0);
  batcher = new Batcher<TextRow, Float32Array>({
    run: async (rows, lane) => {
      const inputs = rows.map(({ encoded }) => encoded);
      const logits = await running.run(inputs, { urgent: lane === 'interactive' });
      results?.keep(inputs, logits);
      return logits;
    },
    executors: running.size,
    budgets,
    quietBudget: budgets.interactive,
    ...batcherOptions(probe, running, Math.max(...Object.values(budgets))),
  });

  const redis = connectForWorker(address, logger, 'queue');
  const subscriber = connectSubscriber(address, logger, 'cancellations');
  const models = new ModelRegistry(redis, config.REDIS_PREFIX);
  const workerId = `${hostname()}:${process.pid}:${Date.now().toString(36)}`;
  const blobs = lazyBlobStore(blobUrl(config), config.MIN_FREE_DISK_BYTES);
  await reportBlobStore(blobs, logger);
  const classifier = new Classifier({
    tokenizer,
    batcher,
    ...named,
    apply,
    applied,
    maxTokens,
    results,
    unreadable: folder.amulet.unreadable_text,
  });
  await classifyFirstText(classifier);
  serving = true;
  const records = new JobRecords(
    redis,
    config.REDIS_PREFIX,
    config.RESULT_TTL_S,
    deliveryWindowMs(config.WEBHOOK_RETRY_S) / 1000,
  );
  const interactive = new Consumer({
    config,
    redis,
    records,
    classifier,
    model,
    workerId,
    logger,
    tracing,
    onJob: (job) => metrics.jobDone(job),
  });
  consumer = interactive;
  const chunks = new BulkConsumer({
    config,
    redis,
    batchStore: new BatchStore({
      redis,
      prefix: config.REDIS_PREFIX,
      ttlS: config.BATCH_TTL_S,
      openTtlS: config.OPEN_BATCH_TTL_S,
    }),
    blobs,
    classifier,
    model,
    logger,
    onChunk: (done) => metrics.chunkDone(done),
  });
  bulk = chunks;

  let stopHeartbeat = () => {};
  onShutdown(logger, config.SHUTDOWN_TIMEOUT_MS, async () => {
    state.notReady = 'the worker is stopping';
    stopHeartbeat();
    if (redis.status === 'ready') await models.withdraw(workerId, model);
    // Nothing to wait for without Redis and without work in flight.
    if (redis.status === 'ready' || interactive.rowsInFlight + chunks.chunksInFlight > 0)
      await Promise.all([interactive.drain(), chunks.drain()]);
    await running.stop();
    await health.close();
    await tracing.stop();
    subscriber.disconnect();
    redis.disconnect();
  });

  state.notReady = 'waiting for Redis';
  const info = {
    ...model,
    labels,
    max_tokens: maxTokens,
    batch_dependence: probe.batchDependence,
    multi_label: folder.problemType === 'multi_label_classification',
    function_to_apply: applied ?? apply,
    temperature: named.temperature,
    thresholds: named.thresholds,
    task: folder.amulet.task,
    ...(folder.amulet.languages && { languages: folder.amulet.languages }),
    ...(calibrated.chunkBytes === undefined ? {} : { chunk_bytes: calibrated.chunkBytes }),
    model_processes: config.MODEL_PROCESSES,
  };
  const announce = () => models.announce(workerId, info);
  await announce();
  stopHeartbeat = startHeartbeat(redis, announce, logger);
  await interactive.start(subscriber);
  chunks.start(subscriber);
  state.notReady = undefined;
  logger.info({ port: health.port }, 'consuming jobs');
  announceReady(
    `${name} (${labels.length} labels, revision ${folder.revision}), health on ${config.WORKER_HOST}:${health.port}`,
  );
});

/** Logs what is unusual about the model. */
function reportProbe(probe: ModelProbe, logger: Logger): void {
  const { batching, batchDependence, applied, warnings, maxTokens, triedTokens } = probe;
  for (const warning of warnings) logger.warn(warning);
  if (applied !== undefined)
    logger.info({ applied }, 'the graph ends in this function: it is not applied a second time');
  if (batchDependence > 0) {
    logger.warn(
      { batch_dependence: batchDependence },
      'scores depend on the other texts of a batch, by up to batch_dependence; BATCH_INVARIANCE=strict runs one text at a time',
    );
  }
  if (batching !== 'mixed')
    logger.info(
      { batching },
      'scores depend on padding or on the other texts of a batch: only some texts share a batch, or none',
    );
  if (triedTokens < maxTokens)
    logger.info(
      { max_tokens: maxTokens, tried_tokens: triedTokens },
      'texts longer than tried_tokens were not tried: they would take too long',
    );
}
