/** The notice of a backfill whose model no worker serves. */
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

test('notifies once, with the served models, and again after workers came and went', async () => {
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

test('says that no worker is running', async () => {
  const { said, notice } = noticeWith([]);
  await notice.look(batch(0));
  await pass();
  await notice.look(batch(0));
  expect(said).toEqual([expect.stringContaining('No worker is running')]);
});

test('says nothing about a batch that has ended or has workers', async () => {
  const { said, notice } = noticeWith([]);
  for (const each of [batch(0, 'completed'), batch(1, 'processing')]) {
    await notice.look(each);
    await pass();
    await notice.look(each);
  }
  expect(said).toEqual([]);
});
