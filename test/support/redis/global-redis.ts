/** Vitest global setup: one Redis per project; every test file uses its own key prefix. */
import type { TestProject } from 'vitest/node';
import { provideRedis } from './redis.ts';

declare module 'vitest' {
  interface ProvidedContext {
    redisUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const redis = await provideRedis();
  project.provide('redisUrl', redis.url);
  return () => redis.stop();
}
