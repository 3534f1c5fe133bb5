/** Through the queue and the batcher, 200 texts get what a plain ONNX Runtime loop gives them one by one. */
import { readFileSync } from 'node:fs';
import { Tokenizer } from '@huggingface/tokenizers';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { SHIPPED_MODEL, Stack } from '../support/processes/stack.ts';
import { goEmotions } from '../support/inputs/texts.ts';

const MODEL = SHIPPED_MODEL.MODEL_DIR;
const readJson = (name: string) => JSON.parse(readFileSync(`${MODEL}/${name}`, 'utf8')) as object;
let stack: Stack;

beforeAll(async () => {
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 2, env: SHIPPED_MODEL });
});
afterAll(() => stack.stop());

async function plainLoop(texts: string[]): Promise<{ label: string; score: number }[]> {
  const tokenizer = new Tokenizer(readJson('tokenizer.json'), readJson('tokenizer_config.json'));
  const session = await InferenceSession.create(`${MODEL}/onnx/model_quantized.onnx`, {
    intraOpNumThreads: 1,
  });
  const results = [];
  for (const text of texts) {
    const { ids } = tokenizer.encode(text, { return_token_type_ids: true });
    const row = (fill: (i: number) => number) =>
      new Tensor(
        'int64',
        BigInt64Array.from(ids, (_, i) => BigInt(fill(i))),
        [1, ids.length],
      );
    const feeds = {
      input_ids: row((i) => ids[i]!),
      attention_mask: row(() => 1),
      token_type_ids: row(() => 0),
    };
    const wanted = Object.fromEntries(
      session.inputNames.map((name) => [name, feeds[name as keyof typeof feeds]]),
    );
    const { logits } = await session.run(wanted);
    const [negative, positive] = logits!.data as Float32Array as unknown as [number, number];
    const score = 1 / (1 + Math.exp(negative - positive));
    results.push(score >= 0.5 ? { label: 'POSITIVE', score } : { label: 'NEGATIVE', score: 1 - score });
  }
  return results;
}

test('the same labels, 200 of 200, and the same scores', async () => {
  const texts = goEmotions();
  expect(texts).toHaveLength(200);
  const expected = await plainLoop(texts);
  const { body } = await stack.post<Job>('/v1/jobs', { texts }, { Prefer: 'wait=60' });
  const singles = await Promise.all(
    texts.map(
      async (text) => (await stack.post<Job>('/v1/jobs', { text }, { Prefer: 'wait=60' })).body.results![0]!,
    ),
  );
  expected.forEach(({ label, score }, i) => {
    for (const row of [body.results![i]!, singles[i]!]) {
      if ('error' in row) throw new Error(row.error.message);
      expect(row.label, texts[i]).toBe(label);
      // The model is quantised so that a score does not depend on who else is in the batch.
      expect(Math.abs(row.score - score), texts[i]).toBeLessThan(1e-4);
    }
  });
});
