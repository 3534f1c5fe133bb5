/** Time until callers get a 503 while Redis is cut off, frozen, black-holed or absent. */
import { FaultProxy } from '../test/support/network/proxy.ts';
import { freePort, OwnRedis } from '../test/support/redis/redis.ts';
import { eventually, Stack } from '../test/support/processes/stack.ts';
import type { Figures } from './figures.ts';

const ID = '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sst2-minilm';

export async function outage(): Promise<Figures> {
  const redis = await OwnRedis.start();
  const proxy = await FaultProxy.start(redis.port);
  const stack = await Stack.start({ redisUrl: proxy.url });
  const figures: Figures = {};
  /** Slowest of a submit, a predict, a read and a waiting read, all at once. */
  const slowest = async (): Promise<number> => {
    const start = performance.now();
    const times = await Promise.all(
      [
        () => stack.post('/v1/jobs', { text: 'a' }),
        () => stack.post('/predict', { text: 'a' }),
        () => stack.get(`/v1/jobs/${ID}`),
        () => stack.get(`/v1/jobs/${ID}?wait=60`),
      ].map(async (call) => {
        const { status } = await call();
        if (status !== 503) throw new Error(`expected 503, got ${status}`);
        return performance.now() - start;
      }),
    );
    return Math.max(...times);
  };
  const recovered = async () => {
    const start = performance.now();
    await eventually(async () =>
      (await stack.post('/v1/jobs', { text: 'a' }, { Prefer: 'wait=60' })).status === 200 ? true : undefined,
    );
    return performance.now() - start;
  };
  const measure = async (name: string, begin: () => void, end: () => void) => {
    begin();
    figures[`${name}: slowest 503 (ms)`] = Math.round(await slowest());
    figures[`${name}, a second later (ms)`] = Math.round(
      await new Promise<number>((resolve) => setTimeout(() => resolve(slowest()), 1000)),
    );
    end();
    figures[`${name}: first job done after recovery (ms)`] = Math.round(await recovered());
  };
  try {
    await recovered();
    await measure(
      'cut',
      () => proxy.cut(),
      () => proxy.heal(),
    );
    await measure(
      'frozen',
      () => redis.freeze(),
      () => redis.thaw(),
    );
    await measure(
      'black-holed',
      () => proxy.blackHole(),
      () => proxy.heal(),
    );
  } finally {
    await stack.stop();
    await proxy.stop();
    await redis.stop();
  }
  const absent = new Stack({ redisUrl: `redis://127.0.0.1:${await freePort()}`, workers: 0 });
  try {
    absent.url = await absent.api.ready;
    const start = performance.now();
    const { status } = await absent.post('/v1/jobs', { text: 'a' });
    if (status !== 503) throw new Error(`expected 503, got ${status}`);
    figures['absent from the start: 503 (ms)'] = Math.round(performance.now() - start);
  } finally {
    await absent.stop();
  }
  return figures;
}
