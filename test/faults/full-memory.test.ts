/** `npm start` with a Redis that is full of accepted work: new work is refused, and accepted work is finished. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { standIn } from '../support/models/stand-in.ts';
import { Launcher } from '../support/processes/launcher.ts';
import { freePort } from '../support/redis/redis.ts';
import { eventually, QUICK_START } from '../support/processes/stack.ts';

/** Below what an idle Redis uses. */
const LIMIT_BYTES = 900_000;

let dataDir: string;
let launcher: Launcher;

beforeEach(() => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'amulet-full-memory-'));
});
afterEach(async () => {
  await launcher.interrupt();
  rmSync(dataDir, { recursive: true, force: true });
});

async function start(env: Record<string, string>): Promise<string> {
  launcher = new Launcher({
    DATA_DIR: dataDir,
    PORT: String(await freePort()),
    ...QUICK_START,
    // Three seconds for what is accepted, so that most of it is left when the limit comes.
    ...standIn({ tokenMs: 0.1 }),
    ...env,
  });
  return (await launcher.says(/Amulet is ready on (\S+)/))[1]!;
}

test('a limit below the memory in use: accepted work is finished, new work is refused', async () => {
  const first = await start({});
  const body = JSON.stringify({ texts: Array.from({ length: 256 }, () => 'good'), top_k: null });
  const post = async (url: string) => {
    const response = await fetch(`${url}/v1/jobs`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body,
    });
    return { status: response.status, body: (await response.json()) as Job & { code: string } };
  };
  const accepted = await Promise.all(Array.from({ length: 40 }, () => post(first)));
  expect(new Set(accepted.map(({ status }) => status))).toEqual(new Set([202]));
  await launcher.interrupt();

  const url = await start({ PRIVATE_REDIS_MAX_BYTES: String(LIMIT_BYTES) });
  const refused = await post(url);
  expect([refused.status, refused.body.code]).toEqual([429, 'queue_full']);
  for (const { body: job } of accepted) {
    const results = await eventually(async () => {
      const response = await fetch(`${url}/v1/jobs/${job.id}`);
      const read = (await response.json()) as Job;
      return read.status === 'succeeded' ? read.results : undefined;
    });
    expect(results?.length).toBe(256);
  }
  const redis = new Redis(path.join(dataDir, 'redis', 'redis.sock'));
  const used = Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
  redis.disconnect();
  expect(used).toBeGreaterThan(LIMIT_BYTES);
});
