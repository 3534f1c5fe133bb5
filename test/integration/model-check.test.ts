/** `amulet model check`: right about what can be served, and one line for what cannot, which a worker says, too. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { encodeModel } from '../../bench/onnx-writer.ts';
import { EXIT } from '../../src/cli/terminal/exit.ts';
import type { ModelReport } from '../../src/shared/contract/model-report.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { tinyModels } from '../support/models/goldens.ts';
import { Process } from '../support/processes/stack.ts';

const SHIPPED = ['sst2-minilm', 'goemotions-minilm'].map((name) => `models/${name}`);
const TINY = tinyModels().map((name) => `test/fixtures/models/${name}`);

const check = (args: string[], env?: Record<string, string>) => {
  const cli = new CliProcess(['model', 'check', ...args], undefined, env);
  return cli.ended.then(({ code }) => ({ code, out: cli.stdout, problems: cli.stderr }));
};

const EXPECTED: Record<string, Partial<ModelReport>> = {
  'sst2-minilm': {
    family: 'bert',
    tokenizer: 'WordPiece',
    apply: 'softmax',
    labels: ['NEGATIVE', 'POSITIVE'],
    max_tokens: 512,
  },
  'goemotions-minilm': { family: 'bert', tokenizer: 'WordPiece', apply: 'sigmoid', max_tokens: 256 },
  'bert-uncased': { family: 'bert', tokenizer: 'WordPiece', apply: 'softmax' },
  'distilbert-cased': { family: 'distilbert', tokenizer: 'WordPiece', apply: 'softmax' },
  roberta: { family: 'roberta', tokenizer: 'BPE', apply: 'sigmoid' },
  'xlm-roberta': { family: 'xlm-roberta', tokenizer: 'Unigram', apply: 'softmax' },
  'multi-label': { apply: 'sigmoid', problem_type: 'multi_label_classification' },
  'one-logit': { apply: 'sigmoid' },
  regression: { apply: 'none', problem_type: 'regression', labels: ['stars'] },
  'labels-unnamed': { labels: ['LABEL_0', 'LABEL_1'], problem_type: null },
  'labels-partly-named': { labels: ['LABEL_0', 'neutral', 'LABEL_2'] },
};

test.each([...SHIPPED, ...TINY])('%s', async (folder) => {
  const { code, out, problems } = await check([
    folder,
    '--json',
    '--text',
    'I love this.',
    '--text',
    'Не то.',
  ]);
  expect([code, problems]).toEqual([EXIT.ok, '']);
  const report = JSON.parse(out) as ModelReport;
  const name = path.basename(folder);
  expect(report).toMatchObject({ folder, problems: [], ...EXPECTED[name] });
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8')) as {
    model_type: string;
  };
  expect(report.family).toBe(config.model_type);
  // As many scores as the graph has outputs, each a number, for both texts.
  const { labels = [], graph, samples = [] } = report;
  expect(graph?.output.width).toBe(labels.length);
  expect(graph?.output.type).toBe(name.startsWith('fp16') ? 'float16' : 'float32');
  const types = new Set(graph?.inputs.map(({ type }) => type));
  expect([...types]).toEqual([name === 'int32-inputs' ? 'int32' : 'int64']);
  expect(graph?.inputs.some(({ name: input }) => input === 'token_type_ids')).toBe(
    config.model_type === 'bert',
  );
  expect(samples.map(({ text }) => text)).toEqual(['I love this.', 'Не то.']);
  for (const { result } of samples) expect(result).toMatchObject({ score: expect.any(Number) as number });
  expect(report.calibration?.length).toBeGreaterThanOrEqual(5);
  // Of every script its tokens, and a share of them; byte-level BPE knows all.
  const { vocabulary = [] } = report;
  expect(vocabulary.map(({ script }) => script)).toEqual(SCRIPTS);
  for (const { tokens, unknown } of vocabulary) {
    expect(tokens).toBeGreaterThan(0);
    expect(unknown >= 0 && unknown <= 1).toBe(true);
    if (report.tokenizer === 'BPE') expect(unknown).toBe(0);
  }
  expect(report.unreadable_text).toBe('error');
  // Only the shipped folders name some.
  expect(report.languages).toEqual(folder.startsWith('models/') ? ['en'] : null);
});

const SCRIPTS = [
  'emoji',
  'Latin with accents',
  'Cyrillic',
  'Greek',
  'Arabic',
  'Hebrew',
  'Devanagari',
  'Chinese',
  'Japanese',
  'Korean',
  'Thai',
];

test('the report shows scripts that the vocabulary lacks; a sample that cannot be read is not a problem', async () => {
  const { code, out, problems } = await check(['models/sst2-minilm', '--text', '😀', '--text', 'a joy 😀']);
  expect([code, problems]).toEqual([EXIT.ok, '']);
  expect(out).toMatch(
    /^Sample +"😀" \(3 tokens\): unreadable_text: the text's only token is not in the model's/m,
  );
  expect(out).toMatch(/"a joy 😀" \(5 tokens\): POSITIVE .*; 33 % of it unknown$/m);
  const lines = out.split('\n');
  const start = lines.findIndex((line) => line.startsWith('Vocabulary'));
  const end = lines.findIndex((line, i) => i > start && !line.startsWith(' '));
  const block = lines.slice(start, end);
  expect(block.join(' ').replaceAll(/ +/g, ' ')).toMatch(
    /^Vocabulary has Latin with accents, Cyrillic, Greek, Arabic, Hebrew lacks emoji 100 %, Devanagari \d %, Chinese \d\d %, Japanese \d %, Korean \d %, Thai 100 % \(of the tokens of a sample\)$/,
  );
  expect(Math.max(...block.map((line) => line.length))).toBeLessThanOrEqual(80);
});

describe('amulet.json', () => {
  let folder: string;
  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-check-'));
    fs.cpSync('test/fixtures/models/bert-uncased', folder, { recursive: true });
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  test('is applied and reported', async () => {
    fs.writeFileSync(path.join(folder, 'amulet.json'), '{"unreadable_text": "classify"}');
    const { code, out } = await check([folder, '--text', '😀']);
    expect(code).toBe(EXIT.ok);
    expect(out).not.toMatch(/^Languages/m);
    expect(out).toMatch(/^Sample +"😀" .*; 100 % of it unknown$/m);
    expect(out).toMatch(/^Unreadable +texts get labels anyway \(unreadable_text in amulet\.json\)$/m);
  });

  test('names the languages: letters of another script are unknown in a sample, and known to the vocabulary', async () => {
    fs.writeFileSync(path.join(folder, 'amulet.json'), '{"languages": ["ru", "en"]}');
    const { code, out } = await check([folder, '--text', 'مرحبا', '--text', 'добро']);
    expect(code).toBe(EXIT.ok);
    expect(out).toMatch(/^Languages +Russian and English \(languages in amulet\.json\)$/m);
    expect(out).toMatch(/"مرحبا" .*; 100 % of it unknown$/m);
    expect(out).toMatch(/"добро" .* 0\.\d{3}$/m);
    expect(out).toMatch(/^Vocabulary[^]* Arabic 16 %,/m);
  });

  test('that is invalid is a problem in one line', async () => {
    fs.writeFileSync(path.join(folder, 'amulet.json'), '{"unreadable_text": "ignore"}');
    const { code, problems } = await check([folder]);
    expect(code).toBe(EXIT.failed);
    expect(problems).toBe(
      `amulet: ${folder}/amulet.json cannot be used: unreadable_text must be one of error, classify\n`,
    );
  });
});

test('the text report has the model, a sample and the speed', async () => {
  const { code, out } = await check(['models/goemotions-minilm', '--text', 'Thank you so much!']);
  expect(code).toBe(EXIT.ok);
  expect(out).toMatch(/^Folder +models\/goemotions-minilm, revision [0-9a-f]{12}$/m);
  expect(out).toMatch(
    /^Thresholds +admiration 0\.4, amusement 0\.23, .*, … \(thresholds in amulet\.json\)$/m,
  );
  expect(out).toMatch(/^Family +bert, WordPiece tokenizer$/m);
  expect(out).toMatch(
    /^Labels +28: admiration, .*, … \(sigmoid; problem_type multi_label_classification\)$/m,
  );
  expect(out).toMatch(/^Limit +256 tokens per text$/m);
  expect(out).toMatch(/^Inputs +input_ids int64, attention_mask int64, token_type_ids int64$/m);
  expect(out).toMatch(/^Sample +"Thank you so much!" \(7 tokens\): gratitude 0\.\d{3}, /m);
  expect(out).toMatch(/^ +256 +[\d.]+ +[\d.]+/m);
});

test('the text report has a line for each unusual property', async () => {
  const [int8, unmasked, probabilities] = await Promise.all(
    ['models/int8', 'cases/model-no-mask/onnx/model.onnx', 'cases/model-probabilities'].map((name) =>
      check([`test/fixtures/${name}`, '--text', 'good film']),
    ),
  );
  expect([int8!.problems, unmasked!.problems, probabilities!.problems]).toEqual(['', '', '']);
  expect(int8!.out).toMatch(
    /^Batches +of any texts; scores differ by up to 0\.0\d+ from those of the text alone \(BATCH_INV/m,
  );
  expect(unmasked!.out).toMatch(
    /^Batches +of texts with the same number of tokens, .*; a text scores the same alone and in a batch$/m,
  );
  expect(probabilities!.out).toMatch(/^Labels +2: NEG, POS \(softmax is applied by the graph itself; /m);
});

describe('a model that cannot be served', () => {
  let folder: string;
  const at = (name: string) => path.join(folder, name);
  const edit = (name: string, change: (config: Record<string, unknown>) => void) => {
    const config = JSON.parse(fs.readFileSync(at(name), 'utf8')) as Record<string, unknown>;
    change(config);
    fs.writeFileSync(at(name), JSON.stringify(config));
  };

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-check-'));
    fs.cpSync('test/fixtures/models/bert-uncased', folder, { recursive: true });
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  /** A graph whose logits are the number of tokens times a weight, [rows, width]. */
  const graph = (width: number, weight: number) =>
    encodeModel({
      name: 'count',
      operators: [
        { op: 'Cast', inputs: ['attention_mask'], outputs: ['mask'], attributes: { to: { int: 1 } } },
        { op: 'ReduceSum', inputs: ['mask', 'axes'], outputs: ['count'] },
        { op: 'Mul', inputs: ['count', 'weights'], outputs: ['logits'] },
      ],
      weights: new Map([
        ['axes', { type: 'int64', dims: [1], data: BigInt64Array.of(1n) }],
        ['weights', { type: 'float', dims: [1, width], data: new Float32Array(width).fill(weight) }],
      ]),
      inputs: ['input_ids', 'attention_mask'].map((name) => ({
        name,
        type: 'int64',
        dims: ['rows', 'tokens'],
      })),
      outputs: [{ name: 'logits', type: 'float', dims: ['rows', width] }],
      operatorSets: { '': 13 },
    });

  test.each<[string, () => void, RegExp]>([
    ['no tokenizer', () => fs.rmSync(at('tokenizer.json')), /tokenizer\.json cannot be read: ENOENT/],
    [
      'a tokenizer that is none',
      () => fs.writeFileSync(at('tokenizer.json'), '{"model": {"type": "Magic"}}'),
      /the tokenizer cannot be loaded: /,
    ],
    [
      'a truncated ONNX file',
      () => fs.truncateSync(at('onnx/model.onnx'), 20_000),
      /model\.onnx cannot be loaded: /,
    ],
    ['an empty ONNX file', () => fs.truncateSync(at('onnx/model.onnx'), 0), /model\.onnx cannot be loaded: /],
    [
      'no ONNX file',
      () => fs.rmSync(at('onnx/model.onnx')),
      /has no ONNX file: looked for onnx\/model_quantized\.onnx/,
    ],
    [
      'more labels than outputs',
      () => edit('config.json', (config) => (config.id2label = { 0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e' })),
      /config\.json names 5 labels, but the graph has 3 outputs/,
    ],
    [
      'fewer labels than outputs',
      () => edit('config.json', (config) => (config.id2label = { 0: 'a', 1: 'b' })),
      /config\.json names 2 labels, but the graph has 3 outputs/,
    ],
    [
      'NaN logits',
      () => fs.writeFileSync(at('onnx/model.onnx'), graph(3, Number.NaN)),
      /the warm-up run gave NaN or infinite logits/,
    ],
    [
      'infinite logits',
      () => fs.writeFileSync(at('onnx/model.onnx'), graph(3, Infinity)),
      /the warm-up run gave NaN or infinite logits/,
    ],
    [
      'a file that is not what the manifest lists',
      () =>
        fs.writeFileSync(
          at('manifest.json'),
          '{"revision": "r1", "files": {"config.json": {"sha256": "00"}}}',
        ),
      /config\.json is damaged: its SHA-256 is not the one in manifest\.json/,
    ],
    [
      'a config that no parser can read',
      () => fs.writeFileSync(at('config.json'), '{\n  "id2label": x\n}'),
      /config\.json cannot be used: /,
    ],
    [
      'no folder',
      () => fs.rmSync(folder, { recursive: true }),
      /^amulet: \/\S+ does not exist: name a model folder/,
    ],
  ])('%s: one line, status 1, and a worker that refuses with the same line', async (_name, damage, line) => {
    damage();
    const { code, problems } = await check([folder]);
    expect(code).toBe(EXIT.failed);
    expect(problems).toMatch(/^amulet: [^\n]+\n$/);
    expect(problems).toMatch(line);

    const worker = new Process('worker/inference/main.ts', {
      REDIS_URL: inject('redisUrl'),
      REDIS_PREFIX: '{test-check}',
      WORKER_PORT: '0',
      MODEL_PROCESSES: '1',
      MODEL_DIR: folder,
      MODEL_NAME: 'broken',
      BATCH_TOKENS: '64',
      BULK_BATCH_TOKENS: '64',
    });
    const status = await new Promise((resolve) => worker.child.once('close', resolve));
    expect(status).toBe(78);
    const last = JSON.parse(worker.output.trim().split('\n').at(-1)!) as { msg: string };
    // A worker got the folder as a setting, the command as an argument.
    expect(`amulet: ${last.msg.replace('MODEL_DIR=', '')}\n`).toBe(problems);
  });

  test.each([
    ['while it loads', 'process.abort()', /the model process ended while loading \(SIGABRT\)/],
    [
      'with a text',
      "process.on('message', ({ type }) => type === 'run' && process.abort())",
      /"I love this\." cannot be classified: This text crashes the model/,
    ],
    [
      'with large batches',
      "process.on('message', ({ type, lengths }) => type === 'run' && lengths.length > 3 && process.abort())",
      /the model process died \(SIGABRT\)/,
    ],
  ])('a model that takes its process with it, %s: one line', async (_, crash, line) => {
    const preload = at('crash.cjs');
    fs.writeFileSync(preload, `if (process.argv[1]?.endsWith('model-child.ts')) ${crash};`);
    const { code, problems } = await check([folder, '--text', 'I love this.'], {
      NODE_OPTIONS: `--require ${preload}`,
    });
    expect(code).toBe(EXIT.failed);
    expect(problems).toMatch(/^amulet: [^\n]+\n$/);
    expect(problems).toMatch(line);
  });

  test('invalid settings are problems, too', async () => {
    const { code, problems } = await check([folder], { PORT: 'x' });
    expect(code).toBe(EXIT.failed);
    expect(problems).toMatch(/^amulet: Configuration: PORT=x: [^\n]+\n$/);
  });

  test('has no config.json: one line that says what a model folder has', async () => {
    fs.rmSync(at('config.json'));
    for (const place of [folder, at('onnx/model.onnx')]) {
      const { code, problems } = await check([place]);
      expect(code).toBe(EXIT.failed);
      expect(problems).toMatch(/^amulet: [^\n]*config\.json[^\n]*\n$/);
      expect(problems).not.toContain('ENOENT');
    }
  });

  test('a limit above that of the graph is a warning, and texts are truncated', async () => {
    edit('config.json', (config) => (config.max_position_embeddings = 200));
    edit('tokenizer_config.json', (config) => delete config.model_max_length);
    const { code, out } = await check([folder, '--text', 'word '.repeat(300)]);
    expect(code).toBe(EXIT.ok);
    expect(out).toMatch(/^Limit +96 tokens per text$/m);
    expect(out).toMatch(
      /^Warning +.* allow 200 tokens \(max_position_embeddings in config\.json\), but the graph fails beyond 96: /m,
    );
  });

  test('meets a bug in a library: one line without a stack', async () => {
    const preload = at('bug.cjs');
    fs.writeFileSync(
      preload,
      `if (process.argv[1]?.endsWith('model-check/main.ts')) Array.prototype.flatMap = () => { throw new TypeError('a bug\\n    at somewhere'); };`,
    );
    const { code, problems } = await check([folder], { NODE_OPTIONS: `--require ${preload}` });
    expect(code).toBe(EXIT.failed);
    expect(problems).toMatch(/a bug/);
    expect(problems).not.toMatch(/^\s+at /m);
  });

  test('control characters in a file do not reach the terminal', async () => {
    edit('config.json', (config) => (config.id2label = { 0: 'a\n\u001b[31mred', 1: 'b', 2: 'c' }));
    expect((await check([folder])).out).toContain(
      String.raw`Labels      3: a\u000a\u001b[31mred, b, c (softmax`,
    );
    fs.writeFileSync(at('tokenizer.json'), '{"model": \u001b[31mred}');
    expect((await check([folder])).problems).toContain(String.raw`Unexpected token '\u001b'`);
  });

  test('several problems are all reported', async () => {
    fs.rmSync(at('tokenizer.json'));
    edit('config.json', (config) => (config.id2label = { 0: 'a', 1: 'b' }));
    const { code, problems } = await check([folder]);
    expect(code).toBe(EXIT.failed);
    expect(problems.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^amulet: .*tokenizer\.json cannot be read/),
      expect.stringMatching(/^amulet: .*names 2 labels, but the graph has 3 outputs/),
    ]);
  });

  test('a graph that is served, whatever it is', async () => {
    fs.writeFileSync(at('onnx/model.onnx'), graph(3, 0.5));
    expect((await check([folder])).code).toBe(EXIT.ok);
  });

  test('in JSON, too', async () => {
    fs.rmSync(at('tokenizer.json'));
    const { code, out, problems } = await check([folder, '--json']);
    expect([code, problems]).toEqual([EXIT.failed, '']);
    expect((JSON.parse(out) as ModelReport).problems).toEqual([
      expect.stringMatching(/tokenizer\.json cannot be read/),
    ]);
  });
});

test.each([
  [[], 'missing FOLDER, such as models/sentiment-multilingual'],
  [['a', 'b'], 'only one FOLDER is allowed: a b'],
  [['a', '--what'], 'unknown option --what; see amulet model --help'],
])('wrong usage: %j', async (args, message) => {
  expect(await check(args)).toMatchObject({ code: EXIT.usage, problems: `amulet: ${message}\n` });
});
