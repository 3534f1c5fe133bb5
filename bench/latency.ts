/**
 * Latency of /predict with one client and one text at a time, and its parts: bare HTTP (/health/live), tokenizer and model as the
 * worker measures them, and the rest: the way to the worker and back. It can be below zero, as means are taken from a median.
 */
import { Agent } from 'node:http';
import { Stack } from '../test/support/processes/stack.ts';
import { send } from './clients.ts';
import * as effort from './effort.ts';
import type { Figures } from './figures.ts';
import { percentile, round } from './statistics.ts';
import { sentences } from './texts.ts';
import { between, readBatches } from './worker-metrics.ts';

const CALLS = 1000;
/** Before these, Node's compilers have not seen enough: a call takes twice as much CPU of the API. */
const WARM_UP_CALLS = 1000;

export async function latency(redisUrl: string): Promise<Figures> {
  const stack = await Stack.start({ redisUrl });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    const calls = effort.rows(CALLS);
    const texts = sentences(calls);
    const warmUp = sentences(effort.rows(WARM_UP_CALLS), 3);
    const time = async (call: () => Promise<unknown>) => {
      const start = performance.now();
      await call();
      return performance.now() - start;
    };
    const health = () => send(stack.url, { method: 'GET', path: '/health/live' }, agent);
    const classify = (text: string) =>
      send(stack.url, { method: 'POST', path: '/predict', body: { text } }, agent);
    for (const text of warmUp) await Promise.all([health(), classify(text)]);
    const before = await readBatches(stack);
    const http: number[] = [];
    const predict: number[] = [];
    for (const text of texts) {
      http.push(await time(health));
      predict.push(await time(() => classify(text)));
    }
    const ran = between(before, await readBatches(stack));
    const p50 = percentile(predict, 50);
    const inference = (ran.seconds / ran.batches) * 1000;
    const tokenize = (ran.tokenizeSeconds / ran.texts) * 1000;
    const handover = (ran.idleSeconds / ran.batches) * 1000;
    const bare = percentile(http, 50);
    return {
      calls,
      '/predict p50 (ms)': round(p50),
      '/predict p99 (ms)': round(percentile(predict, 99)),
      'of that, HTTP alone, p50 (ms)': round(bare),
      'of that, tokenizer, mean (ms)': round(tokenize),
      'of that, one inference, mean (ms)': round(inference),
      'of that, to the model process and back, mean (ms)': round(handover),
      'of that, the rest (ms)': round(p50 - bare - tokenize - inference - handover),
      '/predict p50 − one inference (ms)': round(p50 - inference),
    };
  } finally {
    agent.destroy();
    await stack.stop();
  }
}
