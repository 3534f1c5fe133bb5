/**
 * Throughput of 64 clients that each submit one text and wait for it, against the limit of the machine (raw.ts) in alternating
 * rounds; and CPU per row of each kind of process.
 */
import type { Agent } from 'node:http';
import path from 'node:path';
import { Stack } from '../test/support/processes/stack.ts';
import { runClients, send, submitAndWait } from './clients.ts';
import { makeDistilbertSized } from './distilbert-sized.ts';
import { prefixed, type Figures } from './figures.ts';
import { GENERATED, SHIPPED } from './models.ts';
import { cpuBy, cpuPerRow, processesOf } from './processes.ts';
import { Raw } from './raw.ts';
import { median, percentile, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';
import { between, readBatches } from './worker-metrics.ts';

const ROUNDS = 7;
const CLIENTS = 64;
/** Jobs before the measurement: until the JIT compilers of API and worker are done, a job costs up to twice as much. */
const WARM_UP = 2500;

type Client = (url: string, text: string, agent: Agent) => Promise<void>;

/** Clients that make one call per job: `Prefer: wait`. */
export async function saturate(redisUrl: string): Promise<Figures> {
  return {
    ...prefixed('sentences', await compare(redisUrl, SHIPPED, sentences(3000), submitAndWait)),
    ...prefixed('mixed lengths', await compare(redisUrl, SHIPPED, mixedLengths(1000), submitAndWait)),
    ...prefixed(
      'DistilBERT-sized, sentences',
      await compare(redisUrl, makeDistilbertSized(GENERATED), sentences(700), submitAndWait),
    ),
  };
}

/** Clients that submit, then poll every POLL_MS. */
export async function poll(redisUrl: string): Promise<Figures> {
  return prefixed('sentences', await compare(redisUrl, SHIPPED, sentences(2000), submitAndPoll));
}

const POLL_MS = 100;

async function submitAndPoll(url: string, text: string, agent: Agent): Promise<void> {
  const submitted = await send(url, { method: 'POST', path: '/v1/jobs', body: { text } }, agent);
  if (submitted.status !== 202) throw new Error(`${submitted.status} ${submitted.body}`);
  const { urls } = JSON.parse(submitted.body) as { urls: { self: string } };
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const answer = await send(url, { method: 'GET', path: urls.self }, agent);
    const { status } = JSON.parse(answer.body) as { status: string };
    if (status === 'succeeded') return;
    if (status !== 'queued' && status !== 'processing') throw new Error(answer.body);
  }
}

async function compare(redisUrl: string, model: string, texts: string[], client: Client): Promise<Figures> {
  const raw = await Raw.start(model);
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
    runClients(some, CLIENTS, (text, agent) => client(stack.url, text, agent));
  try {
    const pids = await processesOf(stack, redisUrl);
    await submitAll(sentences(WARM_UP, 3));
    const ratios: number[] = [];
    const rates: number[] = [];
    const rawRates: number[] = [];
    const rawCpu: number[] = [];
    const waits: number[] = [];
    const cost: Record<string, number[]> = {};
    const batches = await readBatches(stack);
    for (let i = 0; i < ROUNDS; i++) {
      const limit = await raw.round(texts);
      const before = cpuBy(pids);
      const start = performance.now();
      waits.push(...(await submitAll(texts)));
      const rate = texts.length / ((performance.now() - start) / 1000);
      for (const [name, micros] of Object.entries(cpuPerRow(before, cpuBy(pids), texts.length))) {
        (cost[name] ??= []).push(micros);
      }
      ratios.push(rate / limit.rowsPerSecond);
      rates.push(rate);
      rawRates.push(limit.rowsPerSecond);
      rawCpu.push(limit.cpuMicrosPerRow);
    }
    const ran = between(batches, await readBatches(stack));
    return {
      'CPU of raw (µs/row)': round(median(rawCpu), 0),
      ...Object.fromEntries(
        Object.entries(cost).map(([name, values]) => [`CPU of ${name} (µs/row)`, round(median(values), 0)]),
      ),
      'raw (rows/s)': round(median(rawRates), 0),
      'rows/s': round(median(rates), 0),
      'ratio to raw, median [95 %]': withInterval(ratios),
      'p50 (ms)': round(percentile(waits, 50), 1),
      'p99 (ms)': round(percentile(waits, 99), 1),
      'rows per micro-batch': round(ran.rows / ran.batches, 1),
      'padded ÷ real tokens': round(ran.paddedTokens / ran.tokens),
      'model process idle while rows wait (%)': round(
        (100 * ran.idleSeconds) / (ran.seconds + ran.idleSeconds),
        1,
      ),
    };
  } finally {
    raw.stop();
    await stack.stop();
  }
}
