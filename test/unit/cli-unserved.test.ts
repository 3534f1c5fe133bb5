/** A backfill whose model no worker serves says so once, and what is served instead. */
import { expect, test } from 'vitest';
import { UnservedModelNotice } from '../../src/cli/backfill/unserved.ts';
import type { BatchClient } from '../../src/client/batches.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Model } from '../../src/shared/contract/models.ts';

const PATIENCE_MS = 20;
const pass = (ms = 2 * PATIENCE_MS) => new Promise((resolve) => setTimeout(resolve, ms));
const batch = (workers: number, status: Batch['status'] = 'queued') =>
  ({ status, model: { name: 'absent', workers } }) as Batch;

function noticeWith(models: Partial<Model>[]) {
  const said: string[] = [];
  const client = { listModels: () => Promise.resolve(models) } as unknown as BatchClient;
  const reporter = {
    log: (line: string) => said.push(line),
    watch: () => {},
    unwatch: () => {},
    warn: () => {},
  };
  const { signal } = new AbortController();
  return { said, notice: new UnservedModelNotice({ client, reporter, signal }, PATIENCE_MS) };
}

test('once, with the models that are served, and again after workers came and went', async () => {
  const { said, notice } = noticeWith([
    { name: 'one', workers: 2 },
    { name: 'absent', workers: 0 },
  ]);
  await notice.look(batch(0));
  expect(said).toEqual([]);
  await pass();
  for (let i = 0; i < 3; i++) await notice.look(batch(0));
  expect(said).toEqual([
    expect.stringMatching(/^No worker has served the model absent for .*Served now: one/),
  ]);
  await notice.look(batch(1));
  await notice.look(batch(0));
  await pass();
  await notice.look(batch(0));
  expect(said).toHaveLength(2);
});

test('that there is no worker at all', async () => {
  const { said, notice } = noticeWith([]);
  await notice.look(batch(0));
  await pass();
  await notice.look(batch(0));
  expect(said).toEqual([expect.stringContaining('No worker is running')]);
});

test('not of a batch that has ended, or that is worked on', async () => {
  const { said, notice } = noticeWith([]);
  for (const each of [batch(0, 'completed'), batch(1, 'processing')]) {
    await notice.look(each);
    await pass();
    await notice.look(each);
  }
  expect(said).toEqual([]);
});
