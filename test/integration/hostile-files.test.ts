/** Files that were made to do harm: an archive that becomes a thousand times as large, a model that points out of its folder. */
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { Stack } from '../support/processes/stack.ts';

const MB = 1_000_000;

let stack: Stack;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-hostile-'));
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env: { MAX_BATCH_BYTES: String(MB) } });
});
afterAll(async () => {
  await stack.stop();
  rmSync(folder, { recursive: true });
});

/** Bytes that the API has written, to sockets and files; 0 where the system does not say. */
function written(): number {
  if (process.platform !== 'linux') return 0;
  const [, bytes] = /^wchar: (\d+)$/m.exec(readFileSync(`/proc/${stack.api.child.pid}/io`, 'utf8')) ?? [];
  return Number(bytes);
}

test.each([
  ['one record', Buffer.alloc(100 * MB, 'x')],
  ['many records', Buffer.alloc(100 * MB, 'x\n')],
])(
  'a gzip bomb of %s is refused at the limit of what it unpacks to, and nothing of it stays',
  async (_what, content) => {
    const bomb = gzipSync(content);
    expect(bomb.length).toBeLessThan(MB);
    const headers = { 'content-type': 'text/plain', 'content-encoding': 'gzip' };
    const before = written();
    const response = await stack.fetch('/v1/batches', { method: 'POST', headers, body: bomb });
    expect(response.status).toBe(413);
    expect(written() - before).toBeLessThan(2 * MB);
    const { batches } = (await (await stack.fetch('/v1/batches')).json()) as { batches: Batch[] };
    expect(batches).toEqual([]);
  },
);

test('a model whose weights are said to lie elsewhere is not loaded', async () => {
  const model = path.join(folder, 'model');
  cpSync('test/fixtures/models/external-data', model, { recursive: true });
  const graph = path.join(model, 'onnx/model.onnx');
  // Of the same length, or it would be no graph any more.
  const [inside, outside] = ['model.onnx_data', '../../z.on_data'] as const;
  expect(outside.length).toBe(inside.length);
  const bytes = readFileSync(graph, 'latin1');
  writeFileSync(graph, bytes.replaceAll(inside, outside), 'latin1');
  renameSync(path.join(model, 'onnx', inside), path.join(model, 'onnx', outside));
  const cli = new CliProcess(['model', 'check', model]);
  expect(await cli.ended).toMatchObject({ code: 1 });
  expect(cli.stderr).toContain(`its weights lie in "${outside}", outside of its folder`);
});
