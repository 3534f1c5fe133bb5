/**
 * Throughput of clients that each submit a job and wait for it, against the limit of the machine (raw.ts) in alternating rounds;
 * CPU per row of each kind of process, their memory, and the traffic of Redis. Most jobs have one text; some 16 or 256.
 */
import type { Agent } from 'node:http';
import path from 'node:path';
import { Stack } from '../test/support/processes/stack.ts';
import { COMPILED_JOBS, runClients, submitAndPoll, submitAndWait } from './clients.ts';
import { makeDistilbertSized } from './distilbert-sized.ts';
import * as effort from './effort.ts';
import { prefixed, type Figures } from './figures.ts';
import { GENERATED, SHIPPED } from './models.ts';
import { startRaw } from './raw.ts';
import { besideRaw } from './rounds.ts';
import { percentile, round } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

const ROUNDS = 7;
const CLIENTS = 64;
/** Texts before the measurement. */
const WARM_UP = 2500;

/** Jobs of many texts, as callers send who care for throughput. Clients enough to keep every model process busy. */
const LARGE_JOBS = [
  { texts: 16, jobs: 256, clients: 64 },
  { texts: 256, jobs: 32, clients: 8 },
];

type Client = (url: string, texts: string[], agent: Agent) => Promise<void>;

interface Load {
  model?: string;
  /** Texts of a round, others in each. */
  texts: (round: number) => string[];
  client: Client;
  clients?: number;
  textsPerJob?: number;
  /** Texts before the measurement; WARM_UP by default. */
  warmUp?: number;
}

/** Clients that make one call per job: `Prefer: wait`. */
export async function saturate(redisUrl: string): Promise<Figures> {
  const figures: Figures = {};
  const add = async (name: string, load: Omit<Load, 'client'>) =>
    Object.assign(figures, prefixed(name, await compare(redisUrl, { client: submitAndWait, ...load })));
  // These judge the budgets of CPU.
  await add('sentences', { texts: different(sentences, effort.rows(3000)), warmUp: COMPILED_JOBS });
  for (const { texts, jobs, clients } of LARGE_JOBS) {
    const load = { texts: different(sentences, texts * effort.rows(jobs)), clients, textsPerJob: texts };
    await add(`jobs of ${texts} sentences, ${clients} clients`, load);
  }
  await add('mixed lengths', { texts: different(mixedLengths, effort.rows(1000)) });
  const model = makeDistilbertSized(GENERATED);
  await add('DistilBERT-sized, sentences', { model, texts: different(sentences, effort.rows(700)) });
  return figures;
}

/** Texts of each round. Every round has its own seed, and none has that of the warm-up. */
const different = (make: (count: number, seed: number) => string[], count: number) => (round: number) =>
  make(count, 100 + round);

/** Clients that submit, then poll. */
export async function poll(redisUrl: string): Promise<Figures> {
  const texts = different(sentences, effort.rows(2000));
  return prefixed('sentences', await compare(redisUrl, { texts, client: submitAndPoll }));
}

async function compare(
  redisUrl: string,
  { model = SHIPPED, texts, client, clients = CLIENTS, textsPerJob = 1, warmUp = WARM_UP }: Load,
): Promise<Figures> {
  const raw = await startRaw(model);
  const stack = await Stack.start({
    redisUrl,
    env: {
      MODEL_PROCESSES: '',
      BATCH_TOKENS: '',
      BULK_BATCH_TOKENS: '',
      MODEL_DIR: model,
      DEFAULT_MODEL: path.basename(model),
    },
  });
  const submitAll = (some: string[]) =>
    runClients(inJobs(some, textsPerJob), clients, (job, agent) => client(stack.url, job, agent));
  try {
    await submitAll(sentences(effort.rows(warmUp), 3));
    const waits: number[] = [];
    const run = async (some: string[]) => {
      waits.push(...(await submitAll(some)));
    };
    const measured = await besideRaw({ raw, stack, redisUrl, rounds: ROUNDS, texts, run });
    return {
      ...measured.cpu,
      ...measured.rawSpeed,
      ...measured.speed,
      'p50 (ms)': round(percentile(waits, 50), 1),
      'p99 (ms)': round(percentile(waits, 99), 1),
      ...measured.batches,
      ...measured.redis,
      ...measured.memory,
    };
  } finally {
    raw.stop();
    await stack.stop();
  }
}

function inJobs(texts: string[], size: number): string[][] {
  return Array.from({ length: Math.ceil(texts.length / size) }, (_, i) =>
    texts.slice(i * size, (i + 1) * size),
  );
}
