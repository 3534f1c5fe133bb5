/**
 * Capacity of the queue without a model: a stub (stub-session.ts) replaces ONNX Runtime.
 *
 * A slow stub acts like a model on separate cores: do 3 workers do three times the work of one? A stub that takes no time shows
 * the limits of one API, one worker and one Redis, their CPU per job, and the memory, network and disk that Redis needs.
 */
import { Redis } from 'ioredis';
import { Stack } from '../test/support/processes/stack.ts';
import { runBatch } from './batch-client.ts';
import { runClients, submitAndWait } from './clients.ts';
import { type Figures, prefixed } from './figures.ts';
import { meter, type Work } from './meter.ts';
import { processesOf } from './processes.ts';
import { median, round, withInterval } from './statistics.ts';
import { sentences } from './texts.ts';

const STUB = new URL('./stub-onnxruntime.ts', import.meta.url).href;
/** So slow that a worker has about 100 sentences a second, and three of them and their callers fit into two cores. */
const SLOW_US_PER_TOKEN = 350;
const MOST_WORKERS = 3;
/** Jobs that three workers prefetch together. */
const CLIENTS = 192;
const ROUNDS = 5;
/** Jobs per worker in a round: about five seconds. */
const JOBS_PER_WORKER = 500;
/** The size that calibration chooses for the shipped model. */
const CHUNK_BYTES = 90_000;
const BULK_ROWS = 20_000;
const TEXTS_PER_JOB = 256;
const LARGE_JOBS = 40;
const LARGE_CLIENTS = 8;
const WAITING_JOBS = 2000;

export async function scale(redisUrl: string): Promise<Figures> {
  return {
    ...(await workersAlone(redisUrl)),
    ...prefixed('no model', await queueAlone(redisUrl)),
    ...prefixed('no model, chunks ten times as large', await largeChunks(redisUrl)),
    ...prefixed(`no model, ${MOST_WORKERS} APIs, ${MOST_WORKERS} workers`, await more(redisUrl)),
    ...prefixed('a waiting job of one sentence, in Redis', await waiting(redisUrl)),
  };
}

/** Starts a stack whose workers run the stub. */
async function start(
  redisUrl: string,
  { workers = 1, microsPerToken = 0, chunkBytes = CHUNK_BYTES } = {},
): Promise<Stack> {
  // Model processes get only the variables that this setting names.
  const env = { BULK_CHUNK_BYTES: String(chunkBytes), MODEL_ENV: 'STUB_US_PER_TOKEN' };
  const stack = await Stack.start({ redisUrl, workers: 0, env });
  const stub = { NODE_OPTIONS: `--import=${STUB}`, STUB_US_PER_TOKEN: String(microsPerToken) };
  stack.workers = Array.from({ length: workers }, () => stack.startWorker(stub));
  await Promise.all(stack.workers.map((worker) => worker.ready));
  return stack;
}

/** Rates of 1, 2 and 3 workers with the slow stub, in alternating rounds. */
async function workersAlone(redisUrl: string): Promise<Figures> {
  const stacks: Stack[] = [];
  try {
    for (let workers = 1; workers <= MOST_WORKERS; workers++)
      stacks.push(await start(redisUrl, { workers, microsPerToken: SLOW_US_PER_TOKEN }));
    const run = async (stack: Stack, jobs: number) => {
      const started = performance.now();
      await singles([stack.url], jobs, CLIENTS)();
      return (jobs * 1000) / (performance.now() - started);
    };
    for (const stack of stacks) await run(stack, JOBS_PER_WORKER);
    const rates = stacks.map((): number[] => []);
    for (let i = 0; i < ROUNDS; i++) {
      for (const [at, stack] of stacks.entries())
        rates[at]!.push(await run(stack, JOBS_PER_WORKER * (at + 1)));
    }
    const [one = []] = rates;
    const figures: Figures = {};
    for (const [at, some] of rates.entries()) {
      const name = `slow stub, ${at + 1} ${at === 0 ? 'worker' : 'workers'}`;
      figures[`${name} (jobs/s)`] = round(median(some), 0);
      if (at > 0) figures[`${name} ÷ 1, median [95 %]`] = withInterval(some.map((rate, i) => rate / one[i]!));
    }
    return figures;
  } finally {
    await Promise.all(stacks.map((stack) => stack.stop()));
  }
}

/** One API and one worker with a stub that takes no time. */
async function queueAlone(redisUrl: string): Promise<Figures> {
  const stack = await start(redisUrl);
  try {
    const processes = await processesOf(stack, redisUrl);
    const jobs = async (count: number, clients: number) =>
      prefixed(
        `${clients} ${clients === 1 ? 'client' : 'clients'}`,
        await meter(processes, redisUrl, { unit: 'job', count, run: singles([stack.url], count, clients) }),
      );
    const count = LARGE_JOBS * TEXTS_PER_JOB;
    return {
      ...(await jobs(500, 1)),
      ...(await jobs(1500, 16)),
      ...(await jobs(3000, CLIENTS)),
      ...prefixed(
        `jobs of ${TEXTS_PER_JOB} texts`,
        await meter(processes, redisUrl, { unit: 'row', count, run: largeJobs(stack.url) }),
      ),
      ...prefixed('a batch', await meter(processes, redisUrl, batch(stack.url))),
    };
  } finally {
    await stack.stop();
  }
}

async function largeChunks(redisUrl: string): Promise<Figures> {
  const stack = await start(redisUrl, { chunkBytes: 10 * CHUNK_BYTES });
  try {
    return prefixed('a batch', await meter(await processesOf(stack, redisUrl), redisUrl, batch(stack.url)));
  } finally {
    await stack.stop();
  }
}

/** The same jobs over several APIs, where fewer of them meet to form a group. */
async function more(redisUrl: string): Promise<Figures> {
  const stack = await start(redisUrl, { workers: MOST_WORKERS });
  const apis = Array.from({ length: MOST_WORKERS - 1 }, () => stack.startApi());
  try {
    const urls = [stack.url, ...(await Promise.all(apis.map((api) => api.ready)))];
    const processes = await processesOf(stack, redisUrl);
    processes.API?.push(...apis.map((api) => api.child.pid!));
    const run = singles(urls, 3000, CLIENTS);
    return prefixed(
      `${CLIENTS} clients`,
      await meter(processes, redisUrl, { unit: 'job', count: 3000, run }),
    );
  } finally {
    await Promise.all(apis.map((api) => api.end()));
    await stack.stop();
  }
}

/** Bytes in Redis of a job that waits for a worker. */
async function waiting(redisUrl: string): Promise<Figures> {
  const stack = await Stack.start({ redisUrl, workers: 0 });
  const redis = new Redis(redisUrl);
  try {
    const used = async () => Number(/used_memory_dataset:(\d+)/.exec(await redis.info('memory'))?.[1]);
    const submit = async (text: string) => {
      const { status } = await stack.post('/v1/jobs', { text });
      if (status !== 202) throw new Error(`answered ${status}`);
    };
    await submit('the first request opens queues');
    const figures: Figures = {};
    for (const clients of [1, CLIENTS]) {
      const before = await used();
      await runClients(sentences(WAITING_JOBS), clients, submit);
      const bytes = ((await used()) - before) / WAITING_JOBS;
      figures[`${clients} ${clients === 1 ? 'client' : 'clients'} (bytes)`] = round(bytes, 0);
    }
    return figures;
  } finally {
    redis.disconnect();
    await stack.stop();
  }
}

/** Seed of the next round's texts: no cache has their results. */
let seed = 100;

/** Jobs of one sentence each, spread over the APIs. */
function singles(urls: readonly string[], count: number, clients: number): () => Promise<void> {
  let next = 0;
  return async () => {
    await runClients(sentences(count, seed++), clients, (text, agent) =>
      submitAndWait(urls[next++ % urls.length]!, [text], agent),
    );
  };
}

function largeJobs(url: string): () => Promise<void> {
  return async () => {
    const jobs = Array.from({ length: LARGE_JOBS }, () => sentences(TEXTS_PER_JOB, seed++));
    await runClients(jobs, LARGE_CLIENTS, (texts, agent) => submitAndWait(url, texts, agent));
  };
}

function batch(url: string): Work {
  const run = () => runBatch(url, sentences(BULK_ROWS, seed++));
  return { unit: 'row', count: BULK_ROWS, run };
}
