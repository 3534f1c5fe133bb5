/** `amulet backfill` against real processes that are killed meanwhile. */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest';
import { EXIT } from '../../src/cli/terminal/exit.ts';
import { BatchClient } from '../../src/client/batches.ts';
import { HttpClient } from '../../src/client/http.ts';
import { CliProcess, runBackfill } from '../support/processes/cli.ts';
import { FaultProxy } from '../support/network/proxy.ts';
import { freePort } from '../support/redis/redis.ts';
import { standIn } from '../support/models/stand-in.ts';
import { eventually, Stack } from '../support/processes/stack.ts';
import { goEmotions } from '../support/inputs/texts.ts';

let stack: Stack;
let dir: string;
beforeAll(async () => {
  // The same address after a restart; locks short enough for a worker's death to be noticed soon.
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: {
      ...standIn({ tokenMs: 0.3 }),
      PORT: String(await freePort()),
      LOCK_DURATION_MS: '1500',
      STALLED_INTERVAL_MS: '500',
      // Many chunks, so that there is a middle of the work.
      BULK_CHUNK_BYTES: '8192',
    },
  });
});
afterAll(async () => {
  await stack.stop();
});
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-e2e-backfill-'));
});
afterEach(() => {
  fs.rmSync(dir, { recursive: true, force: true });
});
const at = (name: string): string => path.join(dir, name);
const content = (name: string): string => fs.readFileSync(at(name), 'utf8');
const rowsOf = (name: string): { line: number; id?: string }[] =>
  content(name)
    .trimEnd()
    .split('\n')
    .map((row) => JSON.parse(row) as { line: number; id?: string });

const ROWS = 1200;
const texts = goEmotions();
/** Every hundredth one has no text, and there are empty lines. */
const records = Array.from({ length: ROWS }, (_, i) =>
  JSON.stringify(i % 100 === 99 ? { id: i } : { id: i, text: `${texts[i % texts.length]} ${i % 7}` }),
);
const archive = gzipSync(`\ufeff${records.join('\n\n')}`);

test('an archive gives the same bytes undisturbed and while every process is killed', async () => {
  fs.writeFileSync(at('in.jsonl.gz'), archive);
  const args = [at('in.jsonl.gz'), '--top-k', 'all', '--url', stack.url];
  const { code, said } = await runBackfill([...args, '--out', at('calm')]);
  expect(said).toContain('12 rows: grep \'"error":\'');
  expect(code).toBe(EXIT.rowErrors);
  const rows = rowsOf('calm');
  expect(rows.map(({ line }) => line)).toEqual(records.map((_, i) => 2 * i + 1));
  expect(rows.map(({ id }) => id)).toEqual(records.map((_, i) => String(i)));
  expect(rows[99]).toMatchObject({ error: { code: 'invalid_text' } });
  expect(rows[0]).toMatchObject({ label: expect.any(String), labels: expect.any(Array), truncated: false });

  const cli = () => new CliProcess(['backfill', ...args, '--out', at('stormy'), '--resume']);
  const rowsCome = () =>
    eventually(() =>
      Promise.resolve(
        fs.existsSync(at('stormy.partial')) && content('stormy.partial') !== '' ? true : undefined,
      ),
    );
  let process = cli();
  await rowsCome();
  await stack.api.end('SIGKILL');
  await stack.workers[0]!.end('SIGKILL');
  stack.api = stack.startApi();
  stack.workers = [stack.startWorker()];
  await new Promise((resolve) => setTimeout(resolve, 1500));
  process.child.kill('SIGKILL');
  await process.ended;
  process = cli();
  expect(await process.ended).toMatchObject({ code: EXIT.rowErrors });
  expect(content('stormy')).toBe(content('calm'));
  expect(fs.readdirSync(dir).toSorted()).toEqual(['calm', 'in.jsonl.gz', 'stormy']);
});

test('CSV with a header of two lines passes a network that breaks', async () => {
  const proxy = await FaultProxy.start(Number(new URL(stack.url).port));
  const url = `http://127.0.0.1:${proxy.port}`;
  const csv = texts.map((text, i) => `${i};"${text.replaceAll('"', '""')}"`);
  fs.writeFileSync(at('in.csv'), `nr;"the\ntext"\r\n${csv.join('\r\n')}\r\n`);
  try {
    const args = [at('in.csv'), '--out', at('out'), '--url', url, '--delimiter', ';'];
    const running = runBackfill([...args, '--text-field', 'the\ntext', '--id-field', 'nr', '--delete']);
    for (let i = 0; i < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      proxy.cut();
      await new Promise((resolve) => setTimeout(resolve, 60));
      proxy.heal();
    }
    expect(await running).toMatchObject({ code: EXIT.ok });
  } finally {
    await proxy.stop();
  }
  const rows = rowsOf('out');
  expect(rows.map(({ id }) => id)).toEqual(texts.map((_, i) => String(i)));
  expect(rows[0]).toMatchObject({ line: 3 });
});

test('an upload to a deleted batch is refused before all of it is sent', async () => {
  const http = new HttpClient(new URL(stack.url));
  const client = new BatchClient(http);
  const { id } = await client.create({ format: 'lines' }, 'e2e-gone');
  await client.delete(id);
  await client.delete(id);
  const body = Buffer.alloc(8 * 1024 * 1024, 'text\n');
  await expect(client.putPart(id, 1, { body, gzip: false })).rejects.toMatchObject({
    code: 'batch_not_found',
  });
  http.close();
});

test('the reason of a refusal is shown', async () => {
  fs.writeFileSync(at('in.txt'), 'good\n');
  const args = [at('in.txt'), '--out', at('out'), '--url', stack.url];
  expect(await runBackfill([...args, '--model', 'none'])).toMatchObject({
    code: EXIT.failed,
    said: expect.stringContaining('No such model'),
  });
  expect(await runBackfill(args)).toMatchObject({ code: EXIT.ok });
  expect(rowsOf('out')).toMatchObject([{ line: 1, label: 'POSITIVE' }]);
});
