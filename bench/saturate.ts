/**
 * 64 clients that submit one text and wait for it, against the machine's limit, in alternating rounds; and what each kind of
 * process costs per row.
 */
import { availableParallelism } from 'node:os';
import { Agent, request } from 'node:http';
import { readdirSync, readFileSync } from 'node:fs';
import { Redis } from 'ioredis';
import { Stack } from '../test/support/stack.ts';
import { cpuSeconds } from './cpu.ts';
import type { Figures } from './main.ts';
import { Raw } from './raw.ts';
import { median, percentile, round, withInterval } from './statistics.ts';
import { mixedLengths, sentences } from './texts.ts';

const ROUNDS = 7;
const CLIENTS = 64;
const MODEL = 'models/sst2-minilm';

export async function saturate(redisUrl: string): Promise<Figures> {
  return {
    ...prefixed('sentences', await compare(redisUrl, sentences(3000))),
    ...prefixed('mixed lengths', await compare(redisUrl, mixedLengths(1000))),
  };
}

const prefixed = (name: string, figures: Figures): Figures =>
  Object.fromEntries(Object.entries(figures).map(([what, value]) => [`${name}: ${what}`, value]));

async function compare(redisUrl: string, texts: string[]): Promise<Figures> {
  const raw = await Raw.start(MODEL);
  const stack = await Stack.start({
    redisUrl,
    workers: availableParallelism(),
    env: { BATCH_TOKENS: '', BULK_BATCH_TOKENS: '' },
  });
  try {
    const pids = await processes(stack, redisUrl);
    await submitAll(stack.url, texts.slice(0, 500));
    const ratios: number[] = [];
    const rates: number[] = [];
    const rawRates: number[] = [];
    const rawCpu: number[] = [];
    const waits: number[] = [];
    const cost: Record<string, number[]> = {};
    for (let i = 0; i < ROUNDS; i++) {
      const limit = await raw.round(texts);
      const before = cpuBy(pids);
      const start = performance.now();
      waits.push(...(await submitAll(stack.url, texts)));
      const rate = texts.length / ((performance.now() - start) / 1000);
      const after = cpuBy(pids);
      for (const name of Object.keys(pids)) {
        (cost[name] ??= []).push(((after[name]! - before[name]!) / texts.length) * 1e6);
      }
      ratios.push(rate / limit.rowsPerSecond);
      rates.push(rate);
      rawRates.push(limit.rowsPerSecond);
      rawCpu.push(limit.cpuMicrosPerRow);
    }
    return {
      'raw (rows/s)': round(median(rawRates), 0),
      'submit-and-wait, 64 clients (rows/s)': round(median(rates), 0),
      'ratio to raw, median [95 %]': withInterval(ratios),
      'p50 (ms)': round(percentile(waits, 50), 1),
      'p99 (ms)': round(percentile(waits, 99), 1),
      'CPU of raw (µs/row)': round(median(rawCpu), 0),
      ...Object.fromEntries(
        Object.entries(cost).map(([name, values]) => [`CPU of ${name} (µs/row)`, round(median(values), 0)]),
      ),
    };
  } finally {
    raw.stop();
    await stack.stop();
  }
}

/** Submits every text as a job of its own with Prefer: wait; returns how long each took, in ms. */
async function submitAll(url: string, texts: string[]): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  const times: number[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (let i = next++; i < texts.length; i = next++) {
        const start = performance.now();
        await submit(url, texts[i]!, agent);
        times.push(performance.now() - start);
      }
    }),
  );
  agent.destroy();
  return times;
}

/** node:http rather than fetch: the clients share the machine with what is measured, and fetch costs four times as much. */
function submit(url: string, text: string, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify({ text });
    const headers = {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
      Prefer: 'wait=60',
    };
    const call = request(`${url}/v1/jobs`, { method: 'POST', headers, agent }, (response) => {
      response.resume();
      response.on('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`${response.statusCode}`));
      });
    });
    call.on('error', reject);
    call.end(body);
  });
}

async function processes(stack: Stack, redisUrl: string): Promise<Record<string, number[]>> {
  const redis = new Redis(redisUrl);
  const redisPid = Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1]);
  redis.disconnect();
  const workers = stack.workers.map((worker) => worker.child.pid!);
  return {
    API: [stack.api.child.pid!],
    workers: workers,
    'model processes': workers.flatMap(childrenOf),
    Redis: [redisPid],
    clients: [process.pid],
  };
}

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid;
      } catch {
        return false;
      }
    })
    .map(Number);
}

function cpuBy(pids: Record<string, number[]>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(pids).map(([name, list]) => [name, list.reduce((sum, pid) => sum + cpuSeconds(pid), 0)]),
  );
}
