/** What the HEALTHCHECK of the image makes of a process, and that the image sets the ports that it asks. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';
import { createHealthApp, serveHealth } from '../../src/shared/runtime/health-server.ts';
import { createMetrics } from '../../src/shared/runtime/metrics.ts';
import { freePort } from '../support/redis/redis.ts';

const ENTRY = fileURLToPath(new URL('../../src/healthcheck/main.ts', import.meta.url));
const PORTS = ['PORT', 'WORKER_PORT', 'WEBHOOK_HEALTH_PORT'] as const;

let notReady: string | undefined;
let close: (() => Promise<void>) | undefined;
afterEach(async () => {
  await close?.();
  close = undefined;
});

/** A container whose process listens on the port of one role. */
async function check(role: (typeof PORTS)[number] | undefined): Promise<{ code: number; said: string }> {
  const ports = Object.fromEntries(
    await Promise.all(PORTS.map(async (name) => [name, String(await freePort())] as const)),
  );
  if (role !== undefined) {
    const app = createHealthApp(() => ({ notReady }), createMetrics('worker'));
    ({ close } = await serveHealth(app, loadConfig({ WORKER_PORT: ports[role] }), 'WORKER_'));
  }
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ENTRY], {
    env: { ...process.env, ...ports },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  return { code, said };
}

test.each(PORTS)('a process that is ready is healthy, on %s', async (role) => {
  notReady = undefined;
  expect(await check(role)).toEqual({ code: 0, said: expect.stringContaining('"status":"ready"') });
});

test('a process that is not ready is unhealthy, with the reason', async () => {
  notReady = 'the model is loading';
  expect(await check('WORKER_PORT')).toEqual({ code: 1, said: expect.stringContaining(notReady) });
});

test('a process that does not listen is unhealthy', async () => {
  const { code, said } = await check(undefined);
  expect(code).toBe(1);
  expect(said.match(/ECONNREFUSED/g)).toHaveLength(PORTS.length);
});

test('the image sets every port to its default, and lets it be reached', () => {
  const dockerfile = readFileSync('Dockerfile', 'utf8');
  const open = /^EXPOSE (.*)$/m.exec(dockerfile)?.[1]?.split(' ').sort();
  const names = [...PORTS, 'METRICS_PORT'] as const;
  for (const name of names) expect(dockerfile).toContain(` ${name}=${SETTINGS[name].default}`);
  expect(names.map((name) => SETTINGS[name].default).sort()).toEqual(open);
});
