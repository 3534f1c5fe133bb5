/** What becomes of texts that a model cannot read, or only in part: on the classifier, with a tokenizer made up for it. */
import { describe, expect, test } from 'vitest';
import { Batcher } from '../../src/worker/inference/batcher.ts';
import { countOutcomes, noOutcomes } from '../../src/worker/inference/chunk-outcomes.ts';
import { Classifier, type TextRow } from '../../src/worker/inference/classifier.ts';
import { unknownShare, unreadableReason } from '../../src/worker/inference/readability.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';

/** Between [CLS] and [SEP] a token a word: `?` is unknown, `_` is white space, `-` is dropped. */
const MAX_TOKENS = 6;
const UNKNOWN = 100;
const BLANK = 4;

function encode(text: string) {
  const words = text.split(' ').filter((word) => word !== '-' && word.trim() !== '' && word !== '\u200b');
  const kept = words.slice(0, MAX_TOKENS - 2);
  const ids = kept.map((word) => (word === '?' ? UNKNOWN : word === '_' ? BLANK : 7));
  return {
    ids: Int32Array.of(101, ...ids, 102),
    typeIds: undefined,
    truncated: words.length > kept.length,
    own: kept.length,
    unknown: kept.filter((word) => word === '?').length,
    blank: kept.filter((word) => word === '_').length,
    foreign: 0,
  };
}

/** Texts that the model ran, as token ids. */
function setUp(unreadable?: 'error' | 'classify') {
  const ran: number[][] = [];
  const classifier = new Classifier({
    tokenizer: {
      truncationSide: 'right',
      encode: (text: string) => Promise.resolve(encode(text)),
      encodeInBackground: (text: string) => Promise.resolve(encode(text)),
    } as unknown as TextTokenizer,
    batcher: new Batcher<TextRow, Float32Array>({
      run: (rows) => {
        ran.push(...rows.map(({ encoded }) => [...encoded.ids]));
        return Promise.resolve(rows.map(() => Float32Array.of(0, 0)));
      },
      budgets: { interactive: 64, low: 64, bulk: 64 },
    }),
    labels: ['a', 'b'],
    apply: 'softmax',
    maxTokens: MAX_TOKENS,
    ...(unreadable && { unreadable }),
  });
  return { classifier, ran };
}

const label = { label: 'a', score: 0.5, truncated: false };
const unreadable = (message: string) => ({ error: { code: 'unreadable_text', message } });
const CURE = 'use a model that reads this script or these symbols';

const CASES: [text: string, result: object][] = [
  ['good film', label],
  ['good ? film', { ...label, unknown: 0.3333 }],
  ['? ? ? film', { ...label, unknown: 0.75 }],
  ['_ good _ ?', { ...label, unknown: 0.5 }],
  ['a b c d e ?', { ...label, truncated: true }],
  ['? b c d e f', { ...label, truncated: true, unknown: 0.25 }],
  ['?', unreadable(`the text's only token is not in the model's vocabulary: ${CURE}`)],
  ['_ ?', unreadable(`the text's only token is not in the model's vocabulary: ${CURE}`)],
  ['? ? ?', unreadable(`none of the text's 3 tokens is in the model's vocabulary: ${CURE}`)],
  ['? ? ? ? film', unreadable(`none of the text's 4 tokens is in the model's vocabulary: ${CURE}`)],
  ['-', unreadable("the model's tokenizer drops every character of the text")],
  ['- _', unreadable("the model's tokenizer drops every character of the text")],
  ['\u200b \u200b', unreadable('the text has only invisible characters')],
];

describe('a text of a job', () => {
  test.each(CASES)('%j', async (text, result) => {
    const { classifier, ran } = setUp();
    const options = { top_k: 1 };
    const signal = new AbortController().signal;
    expect(await classifier.classify({ id: 'r1', text }, options, 'interactive', signal)).toEqual({
      id: 'r1',
      ...result,
    });
    // What cannot be read costs the model nothing.
    expect(ran).toHaveLength('error' in result ? 0 : 1);
  });
});

test('the results of a chunk are in the order of its texts', async () => {
  const { classifier, ran } = setUp();
  const settled: number[] = [];
  const texts = CASES.map(([text]) => text);
  const signal = new AbortController().signal;
  const made = await classifier.classifyEach(texts, { top_k: 1 }, signal, () => settled.push(1));
  const results = [...made];
  expect(results).toEqual(CASES.map(([, result]) => result));
  expect(ran).toHaveLength(CASES.filter(([, result]) => !('error' in result)).length);
});

test('a chunk of unreadable texts only', async () => {
  const { classifier, ran } = setUp();
  const signal = new AbortController().signal;
  const results = [...(await classifier.classifyEach(['?', '\u200b'], { top_k: 1 }, signal, () => {}))];
  expect(results.map((row) => 'error' in row && row.error.code)).toEqual([
    'unreadable_text',
    'unreadable_text',
  ]);
  expect(ran).toEqual([]);
});

describe('with unreadable_text: classify', () => {
  test.each([
    ['?', 1],
    ['? ? ?', 1],
    ['_ ?', 1],
    ['-', 1],
    ['_ -', 1],
    ['\u200b \u200b', 1],
    ['good ?', 0.5],
  ])('%j has labels, and says what was unknown', async (text, unknown) => {
    const { classifier } = setUp('classify');
    const signal = new AbortController().signal;
    const options = { top_k: 1 };
    expect(await classifier.classify({ text }, options, 'interactive', signal)).toEqual({
      ...label,
      unknown,
    });
    expect([...(await classifier.classifyEach([text], options, signal, () => {}))]).toEqual([
      { ...label, unknown },
    ]);
  });
});

test('with truncate: never, a text that is too long fails for its length', async () => {
  const { classifier } = setUp();
  const signal = new AbortController().signal;
  const options = { top_k: 1, truncate: 'never' as const };
  const result = await classifier.classify({ text: '? ? ? ? ?' }, options, 'interactive', signal);
  expect(result).toMatchObject({ error: { code: 'text_too_long' } });
});

describe('the share', () => {
  test.each([
    [{ own: 3, unknown: 0, blank: 0, foreign: 0 }, 0],
    [{ own: 3, unknown: 1, blank: 0, foreign: 0 }, 0.3333],
    [{ own: 3, unknown: 3, blank: 0, foreign: 0 }, 1],
    [{ own: 0, unknown: 0, blank: 0, foreign: 0 }, 1],
    [{ own: 5, unknown: 1, blank: 1, foreign: 2 }, 0.75],
    [{ own: 3, unknown: 0, blank: 0, foreign: 3 }, 1],
    // Above 0, however long the text is.
    [{ own: 100_000, unknown: 1, blank: 0, foreign: 0 }, 0.0001],
    [{ own: 100_000, unknown: 0, blank: 0, foreign: 1 }, 0.0001],
  ])('%j: %d', (counts, share) => expect(unknownShare(counts)).toBe(share));

  test('a byte-level model, which has no unknown token, reads every visible text', () => {
    expect(unreadableReason('😀', { own: 4, unknown: 0, blank: 0 })).toBeUndefined();
  });
});

describe('the counts of a chunk, from its stored results', () => {
  const ndjson = (rows: object[]) => Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const NONE = { failedRows: 0, unknownRows: 0, unknownShares: 0 };

  test('count errors, rows with a share, and the sum of the shares', () => {
    const outcomes = countOutcomes(
      ndjson([
        { line: 1, label: 'a', score: 1, truncated: false },
        { line: 2, label: 'a', score: 1, truncated: false, unknown: 0.25 },
        { line: 3, id: 'x', error: { code: 'unreadable_text', message: 'a "b"' } },
        { line: 4, label: 'a', score: 1, labels: [{ label: 'a', score: 1 }], truncated: true, unknown: 1 },
        { line: 5, label: 'a', score: 1, truncated: false, unknown: 0.0001 },
      ]),
    );
    expect(outcomes).toMatchObject({
      failedRows: 1,
      unknownRows: 3,
      unknownShares: expect.closeTo(1.2501, 9),
    });
  });

  test('do not count ids and labels that look like these fields', () => {
    const tricky = [',"unknown":0.5', 'unknown', ',"error":{', '","unknown":1,"'];
    const rows = tricky.map((text, i) => ({
      line: i + 1,
      id: text,
      label: text,
      score: 1,
      truncated: false,
    }));
    expect(countOutcomes(ndjson(rows))).toMatchObject(NONE);
  });

  test('count rows by their best label and by the code of their error, texts that were cut, and the sum of the scores', () => {
    const best = (line: number, label: string, score: number, more: object = {}) => ({
      line,
      id: '","label":"id","score":1,"truncated":true',
      label,
      score,
      labels: [
        { label, score },
        { label: 'second', score: 0.01 },
      ],
      truncated: false,
      ...more,
    });
    const labels = ['a', 'a"', 'a\\', '","score":9', ',"label":"x', 'ü 😀', '__proto__', ''];
    const rows = [
      ...labels.map((label, i) => best(i + 1, label, 0.5)),
      best(9, 'a', -12.25, { truncated: true, unknown: 0.5 }),
      best(10, 'a', 1e-7),
      { line: 11, error: { code: 'invalid_text', message: 'a "b", "label":"x","score":1' } },
      { line: 12, id: '1', error: { code: 'invalid_text', message: 'm' } },
      { line: 13, error: { code: 'record_too_long', message: 'm' } },
    ];
    const { tally } = countOutcomes(ndjson(rows));
    expect([...tally.labels]).toEqual(labels.map((label) => [label, label === 'a' ? 3 : 1]));
    expect([...tally.errors]).toEqual([
      ['invalid_text', 2],
      ['record_too_long', 1],
    ]);
    expect(tally.truncatedRows).toBe(1);
    expect(tally.scores).toBeCloseTo(labels.length / 2 - 12.25, 5);
    // In pieces, as large results are written.
    const pieces = noOutcomes();
    for (const row of rows) countOutcomes(ndjson([row]), pieces);
    expect(pieces.tally).toEqual({ ...tally, scores: expect.closeTo(tally.scores, 9) });
  });

  test('are 0 for results of an earlier version', () => {
    const rows = [{ line: 1, label: 'a', score: 1, truncated: false }];
    expect(countOutcomes(ndjson(rows))).toMatchObject(NONE);
    expect(countOutcomes(Buffer.alloc(0))).toEqual(noOutcomes());
  });
});

/** Of each family: whether it can read a lone emoji, and its share beside a word. */
describe('the tokenizers of the tiny models', () => {
  test.each([
    ['models/bert-uncased', 'unreadable', 0.5],
    ['models/distilbert-cased', 'unreadable', 0.5],
    // Sets a white space token before it, which is nothing that was read.
    ['models/xlm-roberta', 'unreadable', 0.5],
    ['models/roberta', 'read', 0],
    ['cases/model-unigram-bytefb', 'read', 0],
    ['cases/model-bpe-prefix', 'unreadable', 0.5],
    ['cases/model-bpe-split-next', 'unreadable', 0.5],
    ['cases/model-wordlevel-nounk', 'unreadable', 0.5],
    ['cases/model-wordlevel-ws', 'unreadable', 0.5],
  ])('%s: 😀 alone is %s, beside a word its share is %d', (folder, expected, share) => {
    const tokenizer = new TextTokenizer(`test/fixtures/${folder}`, 64);
    const reason = unreadableReason('😀', tokenizer.encodeNow('😀'));
    expect(reason === undefined ? 'read' : 'unreadable').toBe(expected);
    expect(unknownShare(tokenizer.encodeNow('😀'))).toBe(expected === 'read' ? 0 : 1);
    expect(unknownShare(tokenizer.encodeNow('a 😀'))).toBe(share);
    for (const invisible of ['\u200b\u200b', '\ufe0f', '\u3164\u2800'])
      expect(unreadableReason(invisible, tokenizer.encodeNow(invisible))).toBe(
        'the text has only invisible characters',
      );
  });
});
