/** One client, one text at a time through /predict, beside the bare cost of HTTP (/health/live). */
import { Stack } from '../test/support/stack.ts';
import { goEmotions } from '../test/support/texts.ts';
import type { Figures } from './main.ts';
import { percentile } from './statistics.ts';

const CALLS = 1000;

export async function latency(redisUrl: string): Promise<Figures> {
  const stack = await Stack.start({ redisUrl });
  try {
    const texts = goEmotions();
    const time = async (call: () => Promise<Response>) => {
      const start = performance.now();
      await (await call()).arrayBuffer();
      return performance.now() - start;
    };
    const http: number[] = [];
    const predict: number[] = [];
    const headers = { 'Content-Type': 'application/json' };
    for (let i = 0; i < CALLS; i++) {
      const body = JSON.stringify({ text: texts[i % texts.length] });
      http.push(await time(() => stack.fetch('/health/live')));
      predict.push(await time(() => stack.fetch('/predict', { method: 'POST', headers, body })));
    }
    return {
      calls: CALLS,
      'HTTP alone p50 (ms)': round(percentile(http, 50)),
      '/predict p50 (ms)': round(percentile(predict, 50)),
      '/predict p99 (ms)': round(percentile(predict, 99)),
    };
  } finally {
    await stack.stop();
  }
}

const round = (value: number): number => Math.round(value * 100) / 100;
