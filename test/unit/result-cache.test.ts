/** The exact cache of results: what it returns, what it keeps, and that nobody can tell from the results whether it is there. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Batcher, RowDropped } from '../../src/worker/inference/batcher.ts';
import { Classifier, type TextRow } from '../../src/worker/inference/classifier.ts';
import { keyOf, ResultCache } from '../../src/worker/inference/result-cache.ts';
import type { EncodedText, ModelInput, TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const bytes = (logits: Float32Array | undefined) => logits && Buffer.from(logits.buffer).toString('hex');

/** An input of a few tokens. */
const input = (...ids: number[]): ModelInput => ({ ids: Int32Array.from(ids), typeIds: undefined });

describe('the cache', () => {
  test('returns the floats that it was given, to the last bit, each time as a new array', () => {
    fc.assert(
      fc.property(fc.float32Array({ noNaN: true, noDefaultInfinity: true, maxLength: 40 }), (logits) => {
        const cache = new ResultCache(1e6);
        // A part of the logits of a batch.
        const batch = Float32Array.of(5, ...logits, 6);
        cache.keep([input(1)], [batch.subarray(1, -1)]);
        const first = cache.get(input(1));
        expect(bytes(first)).toBe(bytes(logits));
        first?.fill(7);
        expect(bytes(cache.get(input(1)))).toBe(bytes(logits));
      }),
      fuzz(200),
    );
  });

  test('keeps no row with a score that is not a number, and none of a batch with a row too few', () => {
    const cache = new ResultCache(1e6);
    cache.keep([input(1), input(2)], [Float32Array.of(0, NaN), Float32Array.of(Infinity, 0)]);
    cache.keep([input(3), input(4)], [Float32Array.of(1)]);
    expect([1, 2, 3, 4].map((id) => cache.get(input(id)))).toEqual(Array(4).fill(undefined));
    expect(cache.bytes).toBe(0);
  });

  test('stays within its bytes, and keeps what is asked for', () => {
    const cache = new ResultCache(100_000);
    const asked = Array.from({ length: 20 }, (_, i) => input(1, i));
    for (let i = 0; i < 20_000; i++) {
      cache.keep([input(2, i)], [new Float32Array(50 + (i % 20))]);
      const each = asked[i % asked.length]!;
      const found = cache.get(each);
      if (found) expect(found).toEqual(Float32Array.of(1, 2));
      else cache.keep([each], [Float32Array.of(1, 2)]);
      expect(cache.bytes).toBeLessThanOrEqual(100_000);
    }
    expect(cache.bytes).toBeGreaterThan(99_000);
    expect(cache.get(input(2, 19_999))).toBeDefined();
    expect(cache.get(input(2, 0))).toBeUndefined();
    // Once each for the first time; an entry is lost before its time when four newer ones have the same slots.
    expect(cache.hits).toBeGreaterThan(19_900);
  });

  test('has each row just after it was kept, however short rows are', () => {
    const cache = new ResultCache(10_000);
    for (let i = 0; i < 2000; i++) {
      cache.keep([input(i)], [Float32Array.of(i)]);
      expect(cache.get(input(i))).toEqual(Float32Array.of(i));
      expect(cache.bytes).toBeLessThanOrEqual(10_000);
    }
  });

  test('keeps nothing larger than half of its memory, and nothing at all with 0', () => {
    for (const cache of [new ResultCache(1000), new ResultCache(10), new ResultCache(0)]) {
      cache.keep([input(1)], [new Float32Array(1000)]);
      expect(cache.get(input(1))).toBeUndefined();
      expect(cache.bytes).toBe(0);
    }
  });

  test('returns what a Map would, or nothing, whatever was written and overwritten', () => {
    const row = fc.record({
      ids: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 6 }),
      typed: fc.boolean(),
      outputs: fc.integer({ min: 1, max: 5 }),
      ask: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(row, { maxLength: 200 }), fc.integer({ min: 0, max: 2000 }), (rows, maxBytes) => {
        const cache = new ResultCache(maxBytes);
        const all = new Map<string, string | undefined>();
        rows.forEach(({ ids, typed, outputs, ask }, i) => {
          const each: ModelInput = { ...input(...ids), typeIds: typed ? Int32Array.from(ids) : undefined };
          if (ask) {
            const found = bytes(cache.get(each));
            if (found !== undefined) expect(found).toBe(all.get(keyOf(each)));
            return;
          }
          const logits = new Float32Array(outputs).fill(i + 0.5);
          cache.keep([each], [logits]);
          all.set(keyOf(each), bytes(logits));
          expect(cache.bytes).toBeLessThanOrEqual(maxBytes);
        });
      }),
      fuzz(500),
    );
  });
});

test('keys are equal for equal tokens and segment ids, and for no others', () => {
  // Few and small numbers, so that different inputs have the same bytes somewhere.
  const id = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom(43, 256, 65_536, 0x2b2b2b2b));
  const list = (length: number) => fc.array(id, { minLength: length, maxLength: length });
  const inputs = fc
    .integer({ min: 0, max: 4 })
    .chain((length) => fc.record({ ids: list(length), typeIds: fc.option(list(length)) }));
  fc.assert(
    fc.property(inputs, inputs, (a, b) => {
      const key = ({ ids, typeIds }: typeof a) =>
        // From within a larger buffer, as the tokens of a text may lie.
        keyOf({
          ids: Int32Array.of(9, ...ids, 9).subarray(1, -1),
          typeIds: typeIds ? Int32Array.from(typeIds) : undefined,
        });
      expect(key(a) === key(b)).toBe(JSON.stringify(a) === JSON.stringify(b));
      expect(key(a)).toBe(key(structuredClone(a)));
    }),
    fuzz(2000),
  );
});

/** One token a letter, at most three; a `!` makes the batch of its row fail. */
const encode = (text: string): Promise<EncodedText> => {
  const ids = Int32Array.from(Buffer.from(text)).subarray(0, 3);
  const counts = { own: ids.length, unknown: 0, blank: 0, foreign: 0 };
  return Promise.resolve({ ids, typeIds: undefined, truncated: text.length > 3, ...counts });
};
const tokenizer = { truncationSide: 'right', encode, encodeInBackground: encode } as unknown as TextTokenizer;

/** A service around a made-up model of some labels, whose logits have many digits. */
function serve(labels: number, results: ResultCache | undefined) {
  const batcher = new Batcher<TextRow, Float32Array>({
    budgets: { interactive: 8, low: 8, bulk: 8 },
    executors: 2,
    run: async (rows) => {
      await new Promise((resolve) => setImmediate(resolve));
      if (rows.some(({ encoded }) => encoded.ids.includes('!'.charCodeAt(0)))) throw new Error('no !');
      const batch = new Float32Array(rows.length * labels);
      rows.forEach(({ encoded }, row) => {
        for (let label = 0; label < labels; label++)
          batch[row * labels + label] = Math.sin(
            encoded.ids.reduce((sum, id, place) => sum + id * (place + 1), label * 7),
          );
      });
      const logits = rows.map((_, row) => batch.subarray(row * labels, (row + 1) * labels));
      results?.keep(
        rows.map(({ encoded }) => encoded),
        logits,
      );
      return logits;
    },
  });
  return new Classifier({
    tokenizer,
    batcher,
    labels: Array.from({ length: labels }, (_, label) => `label ${label}`),
    apply: 'softmax',
    maxTokens: 3,
    results,
  });
}

test('with a cache and without one, results have the same bytes, for jobs and batches, repeats and cancels', async () => {
  const work = fc.record({
    texts: fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '!'), minLength: 1, maxLength: 4 }), {
      minLength: 1,
      maxLength: 8,
    }),
    kind: fc.constantFrom('interactive', 'low', 'batch'),
    topK: fc.constantFrom(1, 2, null),
    at: fc.integer({ min: 0, max: 12 }),
    cancelAt: fc.option(fc.integer({ min: 0, max: 16 })),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(work, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 2, max: 9 }),
      // From no room at all to room for everything.
      fc.constantFrom(0, 400, 1500, 1e6),
      async (all, labels, cacheBytes) => {
        const classify = async (
          classifier: Classifier,
          { texts, kind, topK }: (typeof all)[number],
          signal: AbortSignal,
        ) => {
          const options = { top_k: topK };
          const results =
            kind === 'batch'
              ? [...(await classifier.classifyEach(texts, options, signal, () => {}))]
              : await Promise.all(
                  texts.map((text) => classifier.classify({ text }, options, kind as 'low', signal)),
                );
          return JSON.stringify(results);
        };
        const never = new AbortController().signal;
        const plain = serve(labels, undefined);
        const expected = await Promise.all(all.map((each) => classify(plain, each, never)));
        const cached = serve(labels, new ResultCache(cacheBytes));
        const controllers = all.map(() => new AbortController());
        const outcomes: Promise<unknown>[] = [];
        for (let now = 0; now <= 16; now++) {
          all.forEach((each, i) => {
            if (each.at === now)
              outcomes[i] = classify(cached, each, controllers[i]!.signal).catch((error: unknown) => error);
            if (each.cancelAt === now) controllers[i]!.abort();
          });
          await new Promise((resolve) => setImmediate(resolve));
        }
        (await Promise.all(outcomes)).forEach((outcome, i) => {
          if (outcome instanceof RowDropped) expect(all[i]!.cancelAt).not.toBeNull();
          else expect(outcome).toBe(expected[i]);
        });
      },
    ),
    fuzz(150),
  );
});
