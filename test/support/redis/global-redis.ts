/** Vitest global setup: one Redis for the whole run; every test file keeps to a key prefix of its own. */
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
