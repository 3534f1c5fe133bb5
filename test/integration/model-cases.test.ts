/**
 * Models as people have them: each is served with its right outcome, or refused in one line; and whatever is served gives a text
 * the same score alone and in any batch.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { goldenTexts, tinyModels } from '../support/models/goldens.ts';
import { difference, scoresOf, serveModel, type ServedModel } from '../support/models/served-model.ts';
import { inputs, logits, tinyGraph, tinyModel, type TinyGraph, WORDS } from '../support/models/tiny-graph.ts';

const CASES = 'test/fixtures/cases';
let folder: string;
let served: ServedModel | undefined;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-cases-'));
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(async () => {
  await served?.stop();
  served = undefined;
});

async function serve(place: string, invariance?: 'strict'): Promise<ServedModel> {
  served = await serveModel(place, invariance);
  return served;
}
const make = (graph: TinyGraph, config?: object) =>
  serve(tinyModel(path.join(folder, 'model'), tinyGraph(graph), config));

/** Numbers below `limit`, the same in every run. */
function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => (state = (state * 48_271) % 2_147_483_647) % limit;
}

/** Sentences of words that the tokenizers of the cases know, and sentences that they do not. */
function pool(): string[] {
  const words = [
    'good',
    'bad',
    'film',
    'very',
    'not',
    'the',
    'a',
    'one',
    'two',
    'three',
    'four',
    'great',
    'awful',
  ];
  const next = random(20_291);
  const made = Array.from({ length: 60 }, (_, i) =>
    Array.from({ length: 1 + (i % 12) }, () => words[next(words.length)]).join(' '),
  );
  return [...made, 'three', 'one two three four', ...goldenTexts.texts.filter((_, i) => i % 20 === 0)];
}

/** The largest difference of a text's scores between alone and in 20 companies of each lane. */
async function dependence({ classify, classifyAll }: ServedModel): Promise<number> {
  const texts = pool();
  const next = random(4711);
  let worst = 0;
  for (let round = 0; round < 20; round++) {
    const others = Array.from({ length: 2 + next(9) }, () => texts[next(texts.length)]!);
    const alone: Record<string, number>[] = [];
    for (const text of others) alone.push(scoresOf(await classify(text)));
    const both = [await Promise.all(others.map((text) => classify(text))), await classifyAll(others)];
    for (const results of both)
      results.forEach((result, i) => (worst = Math.max(worst, difference(alone[i]!, scoresOf(result)))));
  }
  return worst;
}

/** Cases that are refused. */
const REFUSED = ['model-zipmap'];
const SERVED = readdirSync(CASES).filter((name) => name.startsWith('model-') && !REFUSED.includes(name));

describe('a text has the same score alone and in 20 batches of each lane', () => {
  test.each([
    ...SERVED.map((name) => `${CASES}/${name}`),
    ...tinyModels()
      .filter((name) => name !== 'int8')
      .map((name) => `test/fixtures/models/${name}`),
    'models/sst2-minilm',
    'models/goemotions-minilm',
  ])('%s', async (place) => {
    const model = await serve(place);
    expect(model.probe.batchDependence).toBe(0);
    expect(await dependence(model)).toBeLessThanOrEqual(1e-4);
  });

  test('except with dynamic int8: its batch dependence is measured, and strict has none', async () => {
    const measured = await serve('test/fixtures/models/int8');
    expect(measured.probe.batchDependence).toBeGreaterThan(1e-4);
    expect(measured.probe.batching).toBe('mixed');
    expect(await dependence(measured)).toBeGreaterThan(1e-4);
    await measured.stop();
    const strict = await serve('test/fixtures/models/int8', 'strict');
    expect(strict.probe).toMatchObject({ batching: 'row_by_row', batchDependence: 0 });
    expect(await dependence(strict)).toBeLessThanOrEqual(1e-6);
  });

  test.each<[string, TinyGraph, ServedModel['probe']['batching'], object?]>([
    ['a mask', {}, 'mixed'],
    ['a mask that the graph does not look at', { pooling: 'unmasked' }, 'equal_lengths'],
    ['no mask', { pooling: 'unmasked', inputs: inputs(['rows', 'tokens'], ['input_ids']) }, 'equal_lengths'],
    ['the last place of the row', { pooling: 'last' }, 'equal_lengths'],
    [
      'positions as an input',
      {
        positions: { rows: 512, by: 'position_ids' },
        inputs: inputs(['rows', 'tokens'], ['input_ids', 'attention_mask', 'position_ids']),
      },
      'mixed',
    ],
    ['positions counted by the mask', { positions: { rows: 512, by: 'mask' } }, 'mixed'],
    ['a fixed number of tokens', { inputs: inputs(['rows', 16]) }, 'mixed'],
    [
      'a fixed number of tokens without a mask',
      { pooling: 'unmasked', inputs: inputs(['rows', 16], ['input_ids']) },
      'mixed',
    ],
    ['one row at a time', { inputs: inputs([1, 'tokens']), outputs: [logits([1, 2])] }, 'row_by_row'],
    ['everything fixed', { inputs: inputs([1, 16]), outputs: [logits([1, 2])] }, 'row_by_row'],
  ])('a graph with %s', async (_, graph, batching) => {
    const model = await make(graph);
    expect(model.probe).toMatchObject({ batching, batchDependence: 0 });
    expect(await dependence(model)).toBeLessThanOrEqual(1e-4);
  });

  test.each(['left', 'right'])('a graph that pools at the last token, padded on the %s', async (side) => {
    const place = tinyModel(
      path.join(folder, 'model'),
      readFileSync(`${CASES}/model-gpt-pool/onnx/model.onnx`),
      {
        pad_token_id: 32,
      },
    );
    cpSync(`${CASES}/model-gpt-pool/tokenizer.json`, path.join(place, 'tokenizer.json'));
    const config = JSON.parse(
      readFileSync(`${CASES}/model-gpt-pool/tokenizer_config.json`, 'utf8'),
    ) as object;
    writeFileSync(
      path.join(place, 'tokenizer_config.json'),
      JSON.stringify({ ...config, padding_side: side }),
    );
    const model = await serve(place);
    expect(await dependence(model)).toBeLessThanOrEqual(1e-4);
  });

  test('a graph that mixes its rows is rejected, and runs one text at a time with strict', async () => {
    const graph: TinyGraph = {
      operators: [
        { op: 'ReduceSum', inputs: ['pooled', 'zero'], outputs: ['all'] },
        { op: 'Add', inputs: ['pooled', 'all'], outputs: ['logits'] },
      ],
      weights: [['zero', { type: 'int64', dims: [1], data: BigInt64Array.of(0n) }]],
    };
    await expect(make(graph)).rejects.toThrow(
      /^scores depend on the other texts of a batch, by up to 0\.\d{3}, .*set BATCH_INVARIANCE=strict/,
    );
    const strict = await serve(path.join(folder, 'model'), 'strict');
    expect(strict.probe.batching).toBe('row_by_row');
    expect(await dependence(strict)).toBeLessThanOrEqual(1e-6);
  });
});

describe('a function that the graph applies is not applied a second time', () => {
  const plain = async () => {
    const model = await make({});
    const scores = {
      softmax: scoresOf(await model.classify('a good film')),
      sigmoid: scoresOf(await model.classify('a good film', { apply: 'sigmoid' })),
    };
    await model.stop();
    return scores;
  };
  const weights: TinyGraph['weights'] = [
    ['minus', { type: 'float', dims: [], data: Float32Array.of(0.001) }],
  ];

  test.each<[string, TinyGraph['operators'], 'softmax' | 'sigmoid' | undefined, object?]>([
    ['Softmax', [{ op: 'Softmax', inputs: ['pooled'], outputs: ['logits'] }], 'softmax'],
    [
      'Softmax, whatever config.json says of several labels',
      [{ op: 'Softmax', inputs: ['pooled'], outputs: ['logits'] }],
      'softmax',
      { problem_type: 'multi_label_classification' },
    ],
    [
      'Softmax and Identity',
      [
        { op: 'Softmax', inputs: ['pooled'], outputs: ['p'] },
        { op: 'Identity', inputs: ['p'], outputs: ['logits'] },
      ],
      'softmax',
    ],
    [
      'a softmax written out',
      [
        { op: 'Exp', inputs: ['pooled'], outputs: ['e'] },
        { op: 'ReduceSum', inputs: ['e', 'one'], outputs: ['s'] },
        { op: 'Div', inputs: ['e', 's'], outputs: ['logits'] },
      ],
      'softmax',
    ],
    [
      'Sigmoid',
      [{ op: 'Sigmoid', inputs: ['pooled'], outputs: ['logits'] }],
      'sigmoid',
      { problem_type: 'multi_label_classification' },
    ],
    [
      'LogSoftmax, of which softmax makes the probabilities',
      [{ op: 'LogSoftmax', inputs: ['pooled'], outputs: ['logits'] }],
      undefined,
    ],
    ['a small multiplication', [{ op: 'Add', inputs: ['pooled', 'minus'], outputs: ['logits'] }], undefined],
  ])('%s', async (_, operators, applied, config) => {
    const expected = await plain();
    const model = await make({ operators, weights }, config);
    expect(model.probe.applied).toBe(applied);
    const right = applied === 'sigmoid' ? expected.sigmoid : expected.softmax;
    expect(difference(scoresOf(await model.classify('a good film')), right)).toBeLessThan(1e-5);
    if (applied === undefined) return;
    // The same function asked for by name: it has been applied.
    const asked = scoresOf(await model.classify('a good film', { apply: applied }));
    expect(difference(asked, right)).toBeLessThan(1e-5);
  });

  test('softmax in the graph: the probabilities equal those of the graph without it', async () => {
    const before = await serve(`${CASES}/model-no-tokcfg`);
    const expected = scoresOf(await before.classify('very good film'));
    await before.stop();
    const model = await serve(`${CASES}/model-probabilities`);
    expect(model.probe).toMatchObject({ applied: 'softmax', apply: 'none' });
    expect(difference(scoresOf(await model.classify('very good film')), expected)).toBeLessThan(1e-6);
  });
});

describe('the number of tokens that a graph accepts', () => {
  const long = 'very good film '.repeat(3000);

  test.each<[string, TinyGraph['positions'] & object, object, number]>([
    ['as said', { rows: 100, by: 'mask' }, { max_position_embeddings: 100 }, 100],
    ['as said, counted from 2', { rows: 100, by: 'mask', first: 2 }, { max_position_embeddings: 98 }, 98],
    [
      'counted from 1, of an unknown family',
      { rows: 100, by: 'mask', first: 1 },
      { max_position_embeddings: 100, model_type: 'new' },
      99,
    ],
    [
      'counted from 2, of an unknown family',
      { rows: 514, by: 'mask', first: 2 },
      { max_position_embeddings: 514, model_type: 'new' },
      512,
    ],
    ['of another model', { rows: 37, by: 'mask' }, { max_position_embeddings: 512 }, 37],
    [
      'beyond what is always tried',
      { rows: 4098, by: 'mask', first: 2 },
      { max_position_embeddings: 4098 },
      4096,
    ],
    ['the fallback', { rows: 300, by: 'mask' }, { max_position_embeddings: null }, 300],
  ])('%s', async (_, positions, config, expected) => {
    const model = await make({ positions }, config);
    expect(model.probe.maxTokens).toBe(expected);
    const lower = model.model.maxTokens !== expected;
    expect(model.probe.warnings).toEqual(
      lower
        ? [expect.stringMatching(`but the graph fails beyond ${expected}: longer texts are cut there`)]
        : [],
    );
    const result = await model.classify(long);
    expect(result).toMatchObject({ truncated: true, score: expect.any(Number) as number });
  });

  test('a fixed number of tokens: longer texts are truncated', async () => {
    const model = await make({ inputs: inputs(['rows', 16]) });
    expect(model.probe.maxTokens).toBe(16);
    expect(model.probe.warnings).toEqual([
      expect.stringContaining('but the graph takes 16: longer texts are cut there'),
    ]);
    expect(await model.classify(long)).toMatchObject({ truncated: true });
  });

  test('a limit of a million tokens is tried as far as memory allows, and served', async () => {
    const model = await make({}, { max_position_embeddings: 1_000_000, num_attention_heads: 12 });
    expect(model.probe.maxTokens).toBe(1_000_000);
    expect(model.probe.triedTokens).toBeGreaterThanOrEqual(1024);
    expect(4 * 12 * model.probe.triedTokens ** 2).toBeLessThanOrEqual(512 * 2 ** 20);
  });

  test('positions that count from the padding id', async () => {
    const model = await serve(`${CASES}/model-luke`);
    expect(model.probe.maxTokens).toBe(512);
    expect(await model.classify(long)).toMatchObject({ truncated: true });
  });
});

describe('rejected in one line', () => {
  test.each<[string, TinyGraph, RegExp, object?]>([
    [
      'four rows at a time',
      { inputs: inputs([4, 'tokens']) },
      /takes exactly 4 texts at a time; export it with a dynamic batch/,
    ],
    [
      'a number in the place of scores',
      {
        operators: [
          {
            op: 'ArgMax',
            inputs: ['pooled'],
            outputs: ['logits'],
            attributes: { axis: { int: 1 }, keepdims: { int: 0 } },
          },
        ],
        outputs: [logits(['rows'], 'int64')],
      },
      /logits \(int64: the index of a label, without its score\)/,
    ],
    [
      'scores for every token',
      {
        operators: [{ op: 'Identity', inputs: ['embedded'], outputs: ['logits'] }],
        outputs: [logits(['rows', 'tokens', 2])],
      },
      /logits \(float32 of shape \[rows, tokens, 2\]\)/,
    ],
    [
      'an input that no text has',
      { inputs: [...inputs(['rows', 'tokens']), ...inputs(['rows', 3], ['bbox'])] },
      /has an input bbox \(int64\)/,
    ],
    [
      'fewer embeddings than words',
      { words: WORDS - 2 },
      /token ids up to 31, but the graph has 30 embeddings/,
    ],
  ])('%s', async (_, graph, message, config) => {
    const refused = make(graph, config);
    await expect(refused).rejects.toBeInstanceOf(StartupError);
    await expect(refused).rejects.toThrow(message);
    await expect(refused).rejects.not.toThrow(/\n/);
  });

  test('a sequence of maps, as made by scikit-learn', async () => {
    await expect(serve(`${CASES}/model-zipmap`)).rejects.toThrow(
      /probabilities \(a sequence or map as made by ZipMap, not a tensor/,
    );
  });
});

test('a single label without a dimension', async () => {
  const operators = [
    { op: 'ReduceSum', inputs: ['pooled', 'one'], outputs: ['logits'], attributes: { keepdims: { int: 0 } } },
  ];
  const model = await make({ operators, outputs: [logits(['rows'])] }, { id2label: { 0: 'spam' } });
  expect(model.labels).toEqual(['spam']);
  expect(await dependence(model)).toBeLessThanOrEqual(1e-4);
});

test('an added token without an embedding: a warning, and only a text that contains it fails', async () => {
  const place = tinyModel(path.join(folder, 'model'), tinyGraph());
  const file = path.join(place, 'tokenizer.json');
  const tokenizer = JSON.parse(readFileSync(file, 'utf8')) as { added_tokens: object[] };
  tokenizer.added_tokens.push({
    id: WORDS,
    content: '<new>',
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  writeFileSync(file, JSON.stringify(tokenizer));
  const model = await serve(place);
  expect(model.probe.warnings).toEqual([
    'the graph has no embedding for the added token "<new>": a text that contains one fails',
  ]);
  const [good, bad] = await Promise.all([model.classify('a good film'), model.classify('a good <new>')]);
  expect(good).toHaveProperty('score');
  expect(bad).toMatchObject({ error: { code: 'inference_failed' } });
});
