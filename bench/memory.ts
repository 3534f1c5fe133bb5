/** Resident memory of every process at rest and after work, and bytes in Redis per finished job. */
import { Redis } from 'ioredis';
import type { Job } from '../src/shared/contract/jobs.ts';
import { eventually, Stack } from '../test/support/processes/stack.ts';
import type { Figures } from './figures.ts';
import { residentMb } from './processes.ts';
import { sentences } from './texts.ts';

const JOBS = 2000;
const WARM_UP_JOBS = 500;
const CLIENTS = 64;

export async function memory(redisUrl: string): Promise<Figures> {
  const stack = await Stack.start({ redisUrl });
  const redis = new Redis(redisUrl);
  try {
    const health = (await (await fetch(`${await stack.healthUrl(stack.workers[0]!)}/health`)).json()) as {
      model_pids: number[];
    };
    const pids = {
      api: stack.api.child.pid!,
      worker: stack.workers[0]!.child.pid!,
      'model process': health.model_pids[0]!,
    };
    const figures: Figures = {};
    const rss = (when: string) => {
      for (const [name, pid] of Object.entries(pids)) figures[`${name}, ${when} (MB)`] = residentMb(pid);
    };
    rss('at rest');
    // Scripts and buffers that Redis allocates for the first jobs stay, and do not count.
    await submit(stack, sentences(WARM_UP_JOBS, 3));
    const usedBefore = await usedMemory(redis);
    await submit(stack, sentences(JOBS));
    await new Promise((resolve) => setTimeout(resolve, 500));
    rss(`after ${JOBS} jobs`);
    figures['Redis per finished single job (bytes)'] = Math.round(
      ((await usedMemory(redis)) - usedBefore) / JOBS,
    );
    return figures;
  } finally {
    redis.disconnect();
    await stack.stop();
  }
}

/** Submits jobs of one text each, and waits for them. */
async function submit(stack: Stack, texts: readonly string[]): Promise<void> {
  const pending = [...texts];
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      for (let text = pending.pop(); text !== undefined; text = pending.pop()) {
        const { id } = (await stack.post<Job>('/v1/jobs', { text })).body;
        await eventually(async () =>
          (await stack.get<Job>(`/v1/jobs/${id}?wait=60`)).body.finished_at === null ? undefined : true,
        );
      }
    }),
  );
}

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
}
