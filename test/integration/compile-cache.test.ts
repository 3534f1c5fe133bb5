/** src/fill-compile-cache.js: after it, processes start without the TypeScript compiler. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';

/** Entries that do nothing by themselves, and what processes load while they run. */
const MODULES = [
  'src/worker/inference/model-child.ts',
  'src/shared/blobs/file-blobs.ts',
  'src/api/app.ts',
  'src/worker/inference/consumer.ts',
  'src/worker/webhooks/deliverer.ts',
];
const LOAD = `
  for (const module of ${JSON.stringify(MODULES.map((module) => path.resolve(module)))}) await import(module);
  console.log(process.moduleLoadList.some((name) => name.includes('amaro')) ? 'compiler' : 'no compiler');
  process.exit();`;

test('processes find all modules compiled', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'amulet-cache-'));
  const node = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', ...args],
      { env: { ...process.env, NODE_COMPILE_CACHE: folder }, encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
    return stdout.trim();
  };
  try {
    expect(node('src/fill-compile-cache.js')).toBe('');
    expect(node('--input-type=module', '-e', LOAD)).toBe('no compiler');
    rmSync(folder, { recursive: true });
    expect(node('--input-type=module', '-e', LOAD)).toBe('compiler');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
