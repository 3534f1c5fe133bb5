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
import { startRaw } from './raw.ts';
import { besideRaw } from './rounds.ts';
import { percentile, round } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

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
    runClients(some, CLIENTS, (text, agent) => client(stack.url, text, agent));
  try {
    await submitAll(sentences(WARM_UP, 3));
    const waits: number[] = [];
    const measured = await besideRaw({ raw, stack, redisUrl, rounds: ROUNDS }, texts, async () => {
      waits.push(...(await submitAll(texts)));
    });
    return {
      ...measured.cpu,
      ...measured.rawSpeed,
      ...measured.speed,
      'p50 (ms)': round(percentile(waits, 50), 1),
      'p99 (ms)': round(percentile(waits, 99), 1),
      ...measured.batches,
    };
  } finally {
    raw.stop();
    await stack.stop();
  }
}
