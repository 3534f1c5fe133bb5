/** Resident memory of every process at rest and after work, and bytes in Redis per finished job. */
import { Redis } from 'ioredis';
import type { Job } from '../src/shared/contract.ts';
import { eventually, Stack } from '../test/support/stack.ts';
import { goEmotions } from '../test/support/texts.ts';
import type { Figures } from './main.ts';
import { residentMb } from './processes.ts';

const JOBS = 2000;

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
    const usedBefore = await usedMemory(redis);
    const texts = goEmotions();
    const ids: string[] = [];
    const pending = Array.from({ length: JOBS }, (_, i) => i);
    await Promise.all(
      Array.from({ length: 64 }, async () => {
        for (let i = pending.pop(); i !== undefined; i = pending.pop()) {
          ids.push((await stack.post<Job>('/v1/jobs', { text: texts[i % texts.length] })).body.id);
        }
      }),
    );
    const last = ids.at(-1)!;
    await eventually(async () => {
      const { body } = await stack.get<Job>(`/v1/jobs/${last}?wait=60`);
      return body.finished_at === null ? undefined : true;
    });
    await eventually(async () =>
      (await redis.llen(`${stack.prefix}:classify-sst2-minilm:wait`)) === 0 ? true : undefined,
    );
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

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
}
