/** From a text to its result, around a tokenizer that counts letters and a model that answers with what it read. */
import { describe, expect, test } from 'vitest';
import type { JobPayload } from '../../src/shared/contract/jobs.ts';
import { Batcher, RowDropped } from '../../src/worker/inference/batcher.ts';
import { Classifier, type TextRow } from '../../src/worker/inference/classifier.ts';
import { EngineStopped, ModelCrashed } from '../../src/worker/inference/engine.ts';
import { ResultCache } from '../../src/worker/inference/result-cache.ts';
import type { EncodedText, TextTokenizer, TruncationSide } from '../../src/worker/inference/tokenizer.ts';

const MAX_TOKENS = 4;
const NEVER = new AbortController().signal;
type Options = Pick<JobPayload, 'top_k' | 'apply' | 'truncate'>;
const BEST: Options = { top_k: 1 };

/** What the model has no token for. */
const UNKNOWN = '?'.charCodeAt(0);

/** One token a character. */
const encode = (text: string, side: TruncationSide): Promise<EncodedText> => {
  if (text === 'untokenizable') return Promise.reject(new Error('no such token'));
  const ids = Int32Array.from(Buffer.from(text));
  const kept = side === 'right' ? ids.slice(0, MAX_TOKENS) : ids.slice(-MAX_TOKENS);
  const unknown = kept.filter((id) => id === UNKNOWN).length;
  const counts = { own: kept.length, unknown, blank: 0, foreign: 0 };
  return Promise.resolve({ ids: kept, typeIds: undefined, truncated: ids.length > MAX_TOKENS, ...counts });
};
const tokenizer = { truncationSide: 'right', encode, encodeInBackground: encode } as unknown as TextTokenizer;

const read = ({ ids }: EncodedText) => String.fromCharCode(...ids);
type Model = (text: string) => Float32Array;
/** Logits of the labels neg and pos: pos for a text with an `a`. */
const sentiment: Model = (text) => (text.includes('a') ? Float32Array.of(-1, 1) : Float32Array.of(1, -1));

function start(
  model: Model = sentiment,
  apply: 'softmax' | 'none' = 'none',
  more: Partial<ConstructorParameters<typeof Classifier>[0]> = {},
) {
  const runs: string[][] = [];
  const batcher = new Batcher<TextRow, Float32Array>({
    run: (rows) => {
      const texts = rows.map(({ encoded }) => read(encoded));
      runs.push(texts);
      const logits = texts.map(model);
      more.results?.keep(
        rows.map(({ encoded }) => encoded),
        logits,
      );
      return Promise.resolve(logits);
    },
    budgets: { interactive: 64, low: 64, bulk: 64 },
  });
  const classifier = new Classifier({
    tokenizer,
    batcher,
    labels: ['neg', 'pos'],
    apply,
    maxTokens: MAX_TOKENS,
    ...more,
  });
  const classify = (text: string, options: Partial<Options> = {}, signal = NEVER) =>
    classifier.classify({ text }, { ...BEST, ...options }, 'interactive', signal);
  return { runs, classifier, classify };
}

const crash: Model = () => {
  throw new ModelCrashed('the model process died');
};
const stop: Model = () => {
  throw new EngineStopped('the worker is stopping');
};
const complain: Model = () => {
  throw new Error('Non-zero status code');
};

describe('a text', () => {
  test('gets its best label, its id and its score', async () => {
    const { classifier } = start();
    const classify = (text: string) => classifier.classify({ id: 'r1', text }, BEST, 'low', NEVER);
    expect(await classify('abc')).toEqual({ id: 'r1', label: 'pos', score: 1, truncated: false });
    expect(await classify('xyz')).toEqual({ id: 'r1', label: 'neg', score: 1, truncated: false });
  });

  test('gets top_k labels, best first', async () => {
    const { classify } = start();
    const labels = [
      { label: 'pos', score: 1 },
      { label: 'neg', score: -1 },
    ];
    expect(await classify('a', { top_k: 2 })).toMatchObject({ label: 'pos', labels });
    expect(await classify('a', { top_k: null })).toMatchObject({ label: 'pos', labels });
    expect(await classify('a', { top_k: 1 })).not.toHaveProperty('labels');
  });

  test('is scored with the function of the model, unless the job names one', async () => {
    const { classify } = start(() => Float32Array.of(0, 0), 'softmax');
    expect(await classify('a')).toMatchObject({ score: 0.5 });
    expect(await classify('a', { apply: 'none' })).toMatchObject({ score: 0 });
  });

  test('reports how many rows its batch had', async () => {
    const { classifier } = start();
    const rows: number[] = [];
    const classify = (text: string) =>
      classifier.classify({ text }, BEST, 'interactive', NEVER, (count) => rows.push(count));
    await Promise.all(['a', 'b', 'c'].map(classify));
    expect(rows).toEqual([3, 3, 3]);
  });
});

describe('a text that is too long', () => {
  test.each([
    [{}, 'right', 'neg'],
    [{}, 'left', 'pos'],
    [{ truncate: 'right' }, 'left', 'neg'],
    [{ truncate: 'left' }, 'right', 'pos'],
  ] as const)('is cut with %j by a tokenizer that cuts at the %s', async (options, truncationSide, label) => {
    const { classify } = start(sentiment, 'none', {
      tokenizer: { ...tokenizer, truncationSide } as unknown as TextTokenizer,
    });
    expect(await classify('xxxxa', options)).toMatchObject({ label, truncated: true });
  });

  test('is an error with truncate: never; a text that fits is not', async () => {
    const { classify, runs } = start();
    expect(await classify('xxxxa', { truncate: 'never' })).toEqual({
      error: { code: 'text_too_long', message: 'the model reads at most 4 tokens of a text' },
    });
    expect(runs).toEqual([]);
    expect(await classify('xxxa', { truncate: 'never' })).toMatchObject({ label: 'pos', truncated: false });
  });
});

describe('tokens that the model does not know', () => {
  test('are reported as a share, if there are any', async () => {
    expect(await start().classify('a??b')).toMatchObject({ label: 'pos', unknown: 0.5 });
    expect(await start().classify('ab')).not.toHaveProperty('unknown');
  });

  test('make a text without any other tokens an error, and it does not run', async () => {
    const { classifier, runs } = start();
    const error = { code: 'unreadable_text', message: expect.stringContaining('vocabulary') as string };
    expect(await classifier.classify({ id: 'r1', text: '??' }, BEST, 'low', NEVER)).toEqual({
      id: 'r1',
      error,
    });
    expect([...(await classifier.classifyEach(['??', 'a'], BEST, NEVER, () => {}))]).toMatchObject([
      { error },
      { label: 'pos' },
    ]);
    expect(runs).toEqual([['a']]);
  });

  test('are classified all the same when the model is configured so', async () => {
    const { classify } = start(sentiment, 'none', { unreadable: 'classify' });
    expect(await classify('??')).toMatchObject({ label: 'neg', unknown: 1 });
  });
});

describe('equal texts', () => {
  const cached = () => start(sentiment, 'none', { results: new ResultCache(1e6) });

  test('run once, whether they come together or later, in jobs or in batches', async () => {
    const { classify, classifier, runs } = cached();
    const results = await Promise.all(['a', 'b', 'a', 'a'].map((text) => classify(text)));
    expect(results.map((row) => 'label' in row && row.label)).toEqual(['pos', 'neg', 'pos', 'pos']);
    expect(await classify('b', { top_k: null })).toMatchObject({ label: 'neg', labels: [{}, {}] });
    const chunk = await classifier.classifyEach(['b', 'c', 'a', 'c'], BEST, NEVER, () => {});
    expect([...chunk].map((row) => 'label' in row && row.label)).toEqual(['neg', 'neg', 'pos', 'neg']);
    expect(runs).toEqual([['a', 'b'], ['c']]);
  });

  test('that are truncated on different sides are not equal', async () => {
    const { classify, runs } = cached();
    const [right, left] = await Promise.all([classify('xxxxa'), classify('xxxxa', { truncate: 'left' })]);
    expect([right, left]).toMatchObject([{ label: 'neg' }, { label: 'pos' }]);
    expect(runs).toEqual([['xxxx', 'xxxa']]);
  });

  test('of which one is cut to the tokens of the other say so themselves', async () => {
    const { classify, runs } = cached();
    expect(await classify('abcd')).toMatchObject({ truncated: false });
    expect(await classify('abcde')).toMatchObject({ truncated: true });
    expect(runs).toEqual([['abcd']]);
  });

  test('count as done in a chunk, one by one', async () => {
    const { classify, classifier } = cached();
    await classify('a');
    let settled = 0;
    await classifier.classifyEach(['a', 'b', 'a'], BEST, NEVER, () => settled++);
    expect(settled).toBe(3);
  });

  test('run again after a failure', async () => {
    const { classify, runs } = start(complain, 'none', { results: new ResultCache(1e6) });
    for (let i = 0; i < 2; i++) expect(await classify('a')).toHaveProperty('error');
    // Each twice: a row that fails runs once more.
    expect(runs).toEqual([['a'], ['a'], ['a'], ['a']]);
  });

  test('of a canceled job get no result', async () => {
    const { classify, classifier } = cached();
    await classify('a');
    await expect(classify('a', {}, AbortSignal.abort())).rejects.toThrow(RowDropped);
    await expect(classifier.classifyEach(['a'], BEST, AbortSignal.abort(), () => {})).rejects.toThrow(
      RowDropped,
    );
  });

  test('all run without a cache', async () => {
    const { classify, runs } = start();
    await Promise.all(['a', 'a'].map((text) => classify(text)));
    await classify('a');
    expect(runs).toEqual([['a', 'a'], ['a']]);
  });
});

describe('a failure of a text is the error of its row', () => {
  test.each<[string, string, Model, string, string | RegExp]>([
    ['it cannot be tokenized', 'untokenizable', sentiment, 'inference_failed', 'no such token'],
    ['the model process crashes on it', 'a', crash, 'poison_input', /model/],
    ['the model throws', 'a', complain, 'inference_failed', 'Non-zero status code'],
    ['a score is NaN', 'a', () => Float32Array.of(NaN, NaN), 'inference_failed', 'not a number'],
    [
      'the best score is infinite',
      'a',
      () => Float32Array.of(0, Infinity),
      'inference_failed',
      'not a number',
    ],
    ['there is no score', 'a', () => new Float32Array(0), 'inference_failed', 'not a number'],
  ])('%s', async (_, text, model, code, message) => {
    const expected = { error: { code, message: expect.stringMatching(message) as string } };
    const { classify, classifier } = start(model);
    expect(await classify(text)).toEqual(expected);
    expect([...(await classifier.classifyEach([text], BEST, NEVER, () => {}))]).toEqual([expected]);
  });

  test('results of a chunk are made one by one, when they are read', async () => {
    let named = 0;
    const labels = new Proxy(['neg', 'pos'], {
      get: (target, key) => {
        if (key === '0' || key === '1') named++;
        return Reflect.get(target, key) as unknown;
      },
    });
    const { classifier } = start(sentiment, 'none', { labels });
    const results = await classifier.classifyEach(['a', 'b', 'c'], { top_k: null }, NEVER, () => {});
    expect(named).toBe(0);
    const seen: number[] = [];
    for (const result of results) {
      expect(result).toHaveProperty('labels');
      seen.push(named);
    }
    expect(seen).toEqual([2, 4, 6]);
  });

  test('a NaN among the requested labels fails, whatever the best label is', async () => {
    const { classify } = start(() => Float32Array.of(1, NaN));
    expect(await classify('a', { top_k: 2 })).toMatchObject({ error: { code: 'inference_failed' } });
  });
});

describe('a failure of the worker is thrown', () => {
  test('when it stops', async () => {
    const { classify, classifier } = start(stop);
    await expect(classify('a')).rejects.toThrow(EngineStopped);
    await expect(classifier.classifyEach(['a', 'b'], BEST, NEVER, () => {})).rejects.toThrow(EngineStopped);
  });

  test('when the job was canceled', async () => {
    const { classify, classifier } = start();
    await expect(classify('a', {}, AbortSignal.abort())).rejects.toThrow(RowDropped);
    await expect(classifier.classifyEach(['a'], BEST, AbortSignal.abort(), () => {})).rejects.toThrow(
      RowDropped,
    );
  });
});

describe('a chunk', () => {
  test('gets results in the order of its texts, and reports each as it settles', async () => {
    let settled = 0;
    const { classifier, runs } = start((text) => (text === 'boo' ? complain(text) : sentiment(text)));
    const texts = ['abcdef', 'b', 'untokenizable', 'boo', 'xa'];
    const results = [...(await classifier.classifyEach(texts, BEST, NEVER, () => settled++))];
    expect(results).toEqual([
      { label: 'pos', score: 1, truncated: true },
      { label: 'neg', score: 1, truncated: false },
      { error: { code: 'inference_failed', message: 'no such token' } },
      { error: { code: 'inference_failed', message: 'Non-zero status code' } },
      { label: 'pos', score: 1, truncated: false },
    ]);
    expect(settled).toBe(4);
    // Shortest first: neighbours are padded least.
    expect(runs[0]).toEqual(['b', 'xa', 'boo', 'abcd']);
  });

  test('in which no text can be tokenized has only errors', async () => {
    const { classifier, runs } = start();
    const results = [...(await classifier.classifyEach(['untokenizable'], BEST, NEVER, () => {}))];
    expect(results).toMatchObject([{ error: { code: 'inference_failed' } }]);
    expect(runs).toEqual([]);
  });
});
