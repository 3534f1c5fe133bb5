/**
 * Event-loop lag of a worker with 1,000 texts of 2,000 characters: is the loop free for lock renewals and health checks, and how
 * fast does /health/live respond?
 */
import type { Job } from '../src/shared/contract/jobs.ts';
import { Stack } from '../test/support/processes/stack.ts';
import { longText } from '../test/support/inputs/texts.ts';
import type { Figures } from './figures.ts';
import { percentile } from './statistics.ts';

interface WorkerHealth {
  loop_lag_ms: { p50: number; p99: number; max: number };
}

export async function lag(redisUrl: string): Promise<Figures> {
  const stack = await Stack.start({ redisUrl });
  try {
    const health = `${await stack.healthUrl(stack.workers[0]!)}/health/live`;
    const jobs = await Promise.all(
      Array.from({ length: 4 }, (_, job) => {
        const texts = Array.from({ length: 250 }, (_, i) => `${job * 250 + i} ${longText(1990)}`);
        return stack.post<Job>('/v1/jobs', { texts });
      }),
    );
    const start = performance.now();
    const answers: number[] = [];
    const lags: WorkerHealth['loop_lag_ms'][] = [];
    let working = true;
    const probe = async () => {
      while (working) {
        const asked = performance.now();
        const body = (await (await fetch(health)).json()) as WorkerHealth;
        answers.push(performance.now() - asked);
        // Windows are 10 s long; the first ones still hold the start-up.
        if (performance.now() - start > 20_000) lags.push(body.loop_lag_ms);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    const probing = probe();
    for (const { body } of jobs) {
      let job: Job;
      do job = (await stack.get<Job>(`${body.urls.self}?wait=60`)).body;
      while (job.finished_at === null);
    }
    working = false;
    await probing;
    const seconds = (performance.now() - start) / 1000;
    return {
      texts: 1000,
      'texts/s': round(1000 / seconds),
      'loop lag p50, worst 10 s window (ms)': round(Math.max(...lags.map(({ p50 }) => p50))),
      'loop lag p99, worst 10 s window (ms)': round(Math.max(...lags.map(({ p99 }) => p99))),
      'loop lag max (ms)': round(Math.max(...lags.map(({ max }) => max))),
      '/health/live responses': answers.length,
      '/health/live p50 (ms)': round(percentile(answers, 50)),
      '/health/live p99 (ms)': round(percentile(answers, 99)),
    };
  } finally {
    await stack.stop();
  }
}

const round = (value: number): number => Math.round(value * 100) / 100;
