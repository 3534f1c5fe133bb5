/** The model that the benches make up must be one that the service serves: its graph is checked on a tiny shape. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeDistilbertSized } from '../../bench/distilbert-sized.ts';
import { readModelFolder, type ModelFolder } from '../../src/worker/inference/model-folder.ts';
import { Model } from '../../src/worker/inference/model.ts';

const TINY = { layers: 2, hidden: 32, heads: 4, feedForward: 64, positions: 300, vocabulary: 200, labels: 2 };

let parent: string;
let folder: ModelFolder;
let model: Model;
beforeAll(async () => {
  parent = mkdtempSync(path.join(tmpdir(), 'amulet-distilbert-'));
  // Reading the folder compares every file with the manifest.
  folder = readModelFolder(makeDistilbertSized(parent, TINY), undefined);
  model = await Model.load({
    type: 'load',
    onnxFile: folder.onnxFile,
    executionProviders: ['cpu'],
    intraOpThreads: 1,
  });
});
afterAll(() => rmSync(parent, { recursive: true }));

/** Logits of each row. */
async function run(rows: number[][]): Promise<number[][]> {
  const { values, outputs } = await model.run({
    ids: Int32Array.from(rows.flat()),
    lengths: Int32Array.from(rows, (row) => row.length),
    typeIds: undefined,
  });
  return rows.map((_, i) => [...values.subarray(i * outputs, (i + 1) * outputs)]);
}

/** Different ids for every seed. */
const row = (tokens: number, seed: number): number[] =>
  Array.from({ length: tokens }, (_, i) => (i * 37 + seed * 61 + i * i * seed) % TINY.vocabulary);

test('serves: two finite logits for every row, from tokens and their order alone', async () => {
  expect((await model.warmUp()).output.width).toBe(2);
  const [one, other, reversed] = await run([row(20, 1), row(20, 2), row(20, 1).reverse()]);
  expect([one, other, reversed].flat().every(Number.isFinite)).toBe(true);
  expect(other).not.toEqual(one);
  expect(reversed).not.toEqual(one);
});

test('a row has the same scores alone and in a batch with longer rows', async () => {
  const rows = [row(3, 1), row(40, 2), row(17, 3), row(300, 4)];
  const together = await run(rows);
  for (const [i, alone] of rows.entries()) {
    const [logits] = await run([alone]);
    for (const [label, logit] of logits!.entries()) expect(together[i]![label]).toBeCloseTo(logit, 4);
  }
});

test('an existing model is reused; a regenerated one is identical', () => {
  const { mtimeMs } = statSync(folder.onnxFile);
  expect(makeDistilbertSized(parent, TINY)).toBe(folder.folder);
  expect(statSync(folder.onnxFile).mtimeMs).toBe(mtimeMs);
  const again = mkdtempSync(path.join(tmpdir(), 'amulet-distilbert-'));
  try {
    const copy = readModelFolder(makeDistilbertSized(again, TINY), undefined);
    expect(copy.revision).toBe(folder.revision);
    expect(readFileSync(copy.onnxFile).equals(readFileSync(folder.onnxFile))).toBe(true);
  } finally {
    rmSync(again, { recursive: true });
  }
});

test('another shape has its own folder', () => {
  expect(makeDistilbertSized(parent, { ...TINY, layers: 1 })).not.toBe(folder.folder);
});
