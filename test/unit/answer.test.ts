/** From logits to the labels that were asked for: function, temperature, threshold, top_k. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AnswerOptions, Threshold } from '../../src/shared/contract/options.ts';
import { answerOf, type Answering } from '../../src/worker/inference/answer.ts';
import { Batcher } from '../../src/worker/inference/batcher.ts';
import { Classifier, type TextRow } from '../../src/worker/inference/classifier.ts';
import { ResultCache } from '../../src/worker/inference/result-cache.ts';
import { toScores } from '../../src/worker/inference/scores.ts';
import type { EncodedText, TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const LABELS = ['joy', 'anger', 'fear', '__proto__'];
const OWN = Object.fromEntries([...LABELS.entries()].map(([i, label]) => [label, i / 4]));
const model: Answering = { labels: LABELS, apply: 'sigmoid', thresholds: OWN };

const logits = fc.float32Array({
  min: -9,
  max: 9,
  noNaN: true,
  minLength: LABELS.length,
  maxLength: LABELS.length,
});
const some = fc.double({ min: 0, max: 1, noNaN: true });
const threshold: fc.Arbitrary<Threshold> = fc.oneof(
  some,
  fc.constant('model' as const),
  fc.dictionary(fc.constantFrom('joy', 'anger', 'fear'), some, { minKeys: 1 }),
);
const options: fc.Arbitrary<AnswerOptions> = fc.record({
  top_k: fc.oneof(fc.constant(null), fc.integer({ min: 1, max: 6 })),
  apply: fc.constantFrom(undefined, 'softmax', 'sigmoid', 'none'),
  threshold: fc.option(threshold, { nil: undefined }),
});

describe('an answer', () => {
  test('has the labels that reach their threshold, best first, and of these the best top_k', () => {
    fc.assert(
      fc.property(logits, options, (row, asked) => {
        const scores = toScores(row, asked.apply ?? 'sigmoid');
        const all = LABELS.map((label, i) => ({ label, score: scores[i]! })).sort(
          (a, b) => b.score - a.score,
        );
        const least = (label: string): number => {
          if (asked.threshold === undefined) return -Infinity;
          if (typeof asked.threshold === 'number') return asked.threshold;
          const byLabel = asked.threshold === 'model' ? OWN : asked.threshold;
          return Object.hasOwn(byLabel, label) ? byLabel[label]! : Infinity;
        };
        const chosen = all.filter(({ label, score }) => score >= least(label)).slice(0, asked.top_k ?? 99);
        const labels = asked.top_k === 1 && asked.threshold === undefined ? {} : { labels: chosen };
        expect(answerOf(row, model, asked)).toEqual({ ...all[0], ...labels });
      }),
      fuzz(300),
    );
  });

  test('has no labels when none reaches the threshold, and still the best one', () => {
    expect(answerOf(Float32Array.of(-1, -2), model, { top_k: null, threshold: 0.9 })).toEqual({
      label: 'joy',
      score: expect.closeTo(0.269, 3),
      labels: [],
    });
  });

  test('a score at the threshold reaches it', () => {
    const asked = { top_k: null, threshold: 0.5 };
    expect(answerOf(Float32Array.of(0, -1), model, asked)?.labels).toEqual([{ label: 'joy', score: 0.5 }]);
  });

  test.each([[{ top_k: 1 }], [{ top_k: null, threshold: 0.5 }], [{ top_k: 1, threshold: { joy: 0.5 } }]])(
    'is none under %j when a score is not a number',
    (asked) => {
      expect(answerOf(Float32Array.of(1, Number.NaN), model, asked)).toBeUndefined();
      expect(answerOf(Float32Array.of(), model, asked)).toBeUndefined();
    },
  );
});

describe('a temperature', () => {
  const warm = { ...model, temperature: 2.5 };

  test('divides the logits before softmax and sigmoid, and leaves outputs as they are', () => {
    const row = Float32Array.of(2, -1, 0.5, 0);
    const divided = Float32Array.from(row, (logit) => logit / 2.5);
    for (const apply of ['softmax', 'sigmoid'] as const)
      expect(answerOf(row, warm, { top_k: null, apply })).toEqual(
        answerOf(divided, model, { top_k: null, apply }),
      );
    const none = { top_k: null, apply: 'none' } as const;
    expect(answerOf(row, warm, none)).toEqual(answerOf(row, model, none));
  });

  test('keeps the order of labels, and a softmax a distribution', () => {
    fc.assert(
      fc.property(logits, fc.double({ min: 0.01, max: 100, noNaN: true }), (row, temperature) => {
        const scores = answerOf(row, { ...model, temperature }, { top_k: null, apply: 'softmax' })!.labels!;
        expect(scores.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 6);
        const logitOf = ({ label }: { label: string }) => row[LABELS.indexOf(label)]!;
        for (let i = 1; i < scores.length; i++)
          if (scores[i - 1]!.score > scores[i]!.score)
            expect(logitOf(scores[i - 1]!)).toBeGreaterThan(logitOf(scores[i]!));
      }),
      fuzz(200),
    );
  });
});

test('requests with other options share the cached run of a text, and never its answer', async () => {
  const encode = (text: string): Promise<EncodedText> => {
    const ids = Int32Array.from(Buffer.from(text));
    const counts = { own: ids.length, unknown: 0, blank: 0, foreign: 0 };
    return Promise.resolve({ ids, typeIds: undefined, truncated: false, ...counts });
  };
  const tokenizer = {
    truncationSide: 'right',
    encode,
    encodeInBackground: encode,
  } as unknown as TextTokenizer;
  const logitsOf = ({ ids }: EncodedText) =>
    Float32Array.from(LABELS, (_, i) => ((ids[0]! * (i + 3)) % 11) - 5);
  const start = (results: ResultCache | undefined) => {
    let runs = 0;
    const batcher = new Batcher<TextRow, Float32Array>({
      run: (rows) => {
        runs += rows.length;
        const inputs = rows.map(({ encoded }) => encoded);
        const outputs = inputs.map(logitsOf);
        results?.keep(inputs, outputs);
        return Promise.resolve(outputs);
      },
      budgets: { interactive: 64, low: 64, bulk: 64 },
    });
    const classifier = new Classifier({
      ...model,
      temperature: 1.7,
      tokenizer,
      batcher,
      maxTokens: 4,
      results,
    });
    return { classifier, runs: () => runs };
  };
  const { signal } = new AbortController();
  const texts = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c'), options), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(texts, async (asked) => {
      const cached = start(new ResultCache(1e6));
      const plain = start(undefined);
      for (const [text, each] of asked) {
        const [a, b] = await Promise.all(
          [cached, plain].map(({ classifier }) => classifier.classify({ text }, each, 'interactive', signal)),
        );
        const [c] = await cached.classifier.classifyEach([text], each, signal, () => {});
        expect(a).toEqual(b);
        expect(c).toEqual(b);
      }
      expect(cached.runs()).toBe(new Set(asked.map(([text]) => text)).size);
    }),
    fuzz(60),
  );
});
