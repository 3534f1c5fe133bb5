import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { labelsOf, readModelFolder } from '../../src/worker/inference/model-folder.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-model-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ONNX = 'not really a graph';
function write(
  config: object,
  {
    tokenizer = {},
    onnx = 'onnx/model.onnx',
    manifest,
  }: { tokenizer?: object; onnx?: string | null; manifest?: object } = {},
) {
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(tokenizer));
  mkdirSync(path.join(folder, 'onnx'), { recursive: true });
  if (onnx !== null) writeFileSync(path.join(folder, onnx), ONNX);
  if (manifest) writeFileSync(path.join(folder, 'manifest.json'), JSON.stringify(manifest));
  return () => readModelFolder(folder, undefined);
}
const sha256 = createHash('sha256').update(ONNX).digest('hex');

describe('an invalid folder: one line that names the file', () => {
  test('no folder', () => {
    expect(() => readModelFolder('/no/such/folder', undefined)).toThrow(
      new StartupError('MODEL_DIR=/no/such/folder does not exist: name a model folder (docs/models.md)'),
    );
  });
  test('no ONNX file', () =>
    expect(write({}, { onnx: null })).toThrow(/has no ONNX file: looked for onnx\/model_quantized/));
  test('a named ONNX file that does not exist', () => {
    write({});
    expect(() => readModelFolder(folder, 'onnx/other.onnx')).toThrow(/looked for onnx\/other.onnx/);
  });
  test('a config that is not JSON', () => {
    const read = write({});
    writeFileSync(path.join(folder, 'config.json'), '{');
    expect(read).toThrow(/config\.json cannot be used/);
  });
  test('an unknown problem_type', () =>
    expect(write({ problem_type: 'ranking' })).toThrow(/config\.json cannot be used/));
  test('a damaged file', () => {
    expect(
      write({}, { manifest: { revision: 'r', files: { 'onnx/model.onnx': { sha256: '0'.repeat(64) } } } }),
    ).toThrow(/model\.onnx is damaged/);
  });
  test('a file of the manifest that is missing', () => {
    expect(write({}, { manifest: { revision: 'r', files: { 'vocab.txt': { sha256 } } } })).toThrow(
      /vocab\.txt is missing/,
    );
  });
});

test('the quantised file is preferred', () => {
  write({}, { onnx: 'onnx/model_quantized.onnx' });
  expect(readModelFolder(folder, undefined).onnxFile).toMatch(/model_quantized\.onnx$/);
});

test('the revision is that of the manifest, else a hash of all files that affect scores', () => {
  const revision = () => readModelFolder(folder, undefined).revision;
  const seen = new Set([write({})().revision]);
  expect([...seen][0]).toMatch(/^[0-9a-f]{12}$/);
  expect(revision()).toBe([...seen][0]);
  seen.add(write({ id2label: { 0: 'A' } })().revision);
  writeFileSync(path.join(folder, 'tokenizer.json'), '{}');
  seen.add(revision());
  writeFileSync(path.join(folder, 'onnx/model.onnx'), 'other weights');
  seen.add(revision());
  writeFileSync(path.join(folder, 'onnx/model.onnx_data'), 'more of them');
  seen.add(revision());
  expect(seen.size).toBe(5);
  writeFileSync(path.join(folder, 'README.md'), 'nothing to do with it');
  expect(seen.has(revision())).toBe(true);
  expect(
    write({}, { manifest: { revision: 'abc', files: { 'onnx/model.onnx': { sha256 } } } })().revision,
  ).toBe('abc');
});

describe('the revision', () => {
  const copy = (name: string) => cpSync(path.join('test/fixtures', name), folder, { recursive: true });
  const revision = () => readModelFolder(folder, undefined).revision;
  const weights = () => path.join(folder, 'onnx/weights.bin');

  // Batches that are half done when a worker is updated depend on it.
  test.each([
    ['models/bert-uncased', 'a296ba94d211'],
    ['models/external-data', 'f6a4e5aa4e09'],
    ['models/int8', '02cbca053c2e'],
    ['../../models/sst2-minilm', undefined],
  ])('of %s is that of earlier versions', (name, expected) => {
    copy(name);
    const manifest = path.join(folder, 'manifest.json');
    const listed = existsSync(manifest)
      ? (JSON.parse(readFileSync(manifest, 'utf8')) as { revision: string })
      : undefined;
    expect(revision()).toBe(expected ?? listed?.revision);
  });

  test('differs when weights differ whose file only the graph names', () => {
    const seen = ['model-ext-weights', 'model-ext-weights2'].map((name) => {
      copy(`cases/${name}`);
      expect(readModelFolder(folder, undefined).weightFiles.map((file) => path.basename(file))).toEqual([
        'model.onnx',
        'weights.bin',
      ]);
      return revision();
    });
    expect(seen[0]).not.toBe(seen[1]);
    writeFileSync(weights(), 'other weights');
    expect(seen).not.toContain(revision());
  });

  test('differs also when a manifest does not list these weights', () => {
    copy('cases/model-ext-weights');
    writeFileSync(path.join(folder, 'manifest.json'), '{"revision": "r", "files": {}}');
    const first = revision();
    writeFileSync(weights(), 'other weights');
    expect(new Set(['r', first, revision()]).size).toBe(3);
    const listed = createHash('sha256').update('other weights').digest('hex');
    writeFileSync(
      path.join(folder, 'manifest.json'),
      JSON.stringify({ revision: 'r', files: { 'onnx/weights.bin': { sha256: listed } } }),
    );
    expect(revision()).toBe('r');
  });

  test('differs when a manifest does not list amulet.json, and never exceeds the length limit', () => {
    write({}, { manifest: { revision: 'r'.repeat(64), files: {} } });
    expect(revision()).toBe('r'.repeat(64));
    const settings = (text: string) => writeFileSync(path.join(folder, 'amulet.json'), text);
    const seen = ['error', 'classify'].map((unreadable_text) => {
      settings(JSON.stringify({ unreadable_text }));
      return revision();
    });
    expect(seen[0]).not.toBe(seen[1]);
    for (const each of seen) expect(each).toMatch(/^r{51}-[0-9a-f]{12}$/);
  });

  test('missing weights: one line', () => {
    copy('cases/model-ext-weights');
    rmSync(weights());
    expect(revision).toThrow(
      /model\.onnx cannot be loaded: its weights lie in weights\.bin, which is missing$/,
    );
  });

  test.each(['../config.json', '/etc/passwd', 'C:\\w', '', '.'])('weights in %j: one line', (location) => {
    copy('cases/model-ext-weights');
    const tensor = [...key(1, 2, 'location'), ...key(2, 2, location)];
    const initializer = [...key(13, 2, tensor), ...key(14, 0, 1)];
    writeFileSync(path.join(folder, 'onnx/model.onnx'), Buffer.from(key(7, 2, key(5, 2, initializer))));
    expect(revision).toThrow(StartupError);
    expect(revision).toThrow(/its weights lie in ".*", outside of its folder$/);
  });

  /** A field of a protobuf message of less than 128 bytes. */
  const key = (field: number, kind: number, content: string | number | number[]): number[] => {
    const tag = (field << 3) | kind;
    if (typeof content === 'number') return [tag, content];
    const bytes = typeof content === 'string' ? [...Buffer.from(content)] : content;
    return [tag, bytes.length, ...bytes];
  };
});

test.each([
  [{ max_position_embeddings: 512 }, { model_max_length: 128 }, 128],
  [{ max_position_embeddings: 512 }, { model_max_length: 1e30 }, 512],
  [{ max_position_embeddings: 514, model_type: 'roberta', pad_token_id: 1 }, { model_max_length: 1e30 }, 512],
  [{ max_position_embeddings: 514, model_type: 'xlm-roberta' }, {}, 512],
  [{}, {}, 512],
])('most tokens of %j with %j: %i', (config, tokenizer, expected) => {
  expect(write(config, { tokenizer })().maxTokens).toBe(expected);
});

describe('labels and score function', () => {
  const two = { id2label: { 0: 'NO', 1: 'YES' } };
  test.each([
    [two, 2, ['NO', 'YES'], 'softmax'],
    [{ ...two, problem_type: 'multi_label_classification' }, 2, ['NO', 'YES'], 'sigmoid'],
    [{ ...two, problem_type: 'regression' }, 2, ['NO', 'YES'], 'none'],
    [{ id2label: { 0: 'STARS' }, problem_type: 'regression' }, 1, ['STARS'], 'none'],
    [{ id2label: { 0: 'SPAM' } }, 1, ['SPAM'], 'sigmoid'],
    [{ id2label: { 1: 'YES' } }, 3, ['LABEL_0', 'YES', 'LABEL_2'], 'softmax'],
    [{}, 2, ['LABEL_0', 'LABEL_1'], 'softmax'],
  ])('%j with %i outputs', (config, width, labels, apply) => {
    expect(labelsOf(write(config)(), width)).toEqual({ labels, apply });
  });

  test('more names than outputs are rejected', () => {
    expect(() => labelsOf(write({ id2label: { 0: 'A', 1: 'B', 2: 'C' } })(), 2)).toThrow(
      /names 3 labels, but the graph has 2 outputs/,
    );
  });

  test('fewer names than outputs are rejected when none is missing in between: they belong to another graph', () => {
    expect(() => labelsOf(write({ id2label: { 0: 'A', 1: 'B' } })(), 3)).toThrow(
      /names 2 labels, but the graph has 3 outputs/,
    );
  });
});

describe('further invalid folders', () => {
  test('without config.json: the message lists what a model folder has, and suggests a folder', () => {
    const read = write({});
    expect(() => readModelFolder(path.join(folder, 'onnx'), undefined)).toThrow(
      `has no config.json: a model folder has config.json, tokenizer.json and an ONNX file; did you mean ${folder}?`,
    );
    rmSync(path.join(folder, 'config.json'));
    expect(read).toThrow(StartupError);
    expect(read).toThrow(/has no config\.json: a model folder has config\.json, [^;]+$/);
  });

  test.each<[string, string, string]>([
    ['half a file', 'config.json', '{"id2label": {"0": "A"'],
    ['an empty file', 'tokenizer_config.json', ''],
    ['a list', 'config.json', '[]'],
    ['a text for id2label', 'config.json', '{"id2label": "A, B"}'],
    ['a list for a label', 'config.json', '{"id2label": {"0": ["A"]}}'],
    ['label2id in the place of id2label', 'config.json', '{"id2label": {"A": 0}}'],
    ['a word for the positions', 'config.json', '{"max_position_embeddings": "many"}'],
    ['a word for the limit', 'tokenizer_config.json', '{"model_max_length": "many"}'],
    ['NaN and a mistake', 'config.json', '{"dropout": NaN, }'],
    ['a manifest without files', 'manifest.json', '{"revision": "r"}'],
    ['a manifest without a revision', 'manifest.json', '{"revision": "", "files": {}}'],
  ])('%s (%s)', (_name, file, content) => {
    const read = write({});
    writeFileSync(path.join(folder, file), content);
    expect(read).toThrow(StartupError);
    expect(read).toThrow(`${path.join(folder, file)} cannot be used: `);
    expect(read).not.toThrow(/\n/);
  });

  test('a file where the folder should be', () => {
    write({});
    expect(() => readModelFolder(path.join(folder, 'config.json'), undefined)).toThrow(StartupError);
  });

  test('one bit different from the manifest', () => {
    const read = write({}, { manifest: { revision: 'r', files: { 'onnx/model.onnx': { sha256 } } } });
    expect(read().revision).toBe('r');
    writeFileSync(path.join(folder, 'onnx/model.onnx'), ONNX.replace('n', 'o'));
    expect(read).toThrow(StartupError);
    expect(read).toThrow(/model\.onnx is damaged/);
  });
});

describe('files as they are found in practice', () => {
  const raw = (name: string, content: string) => writeFileSync(path.join(folder, name), content);
  const read = () => readModelFolder(folder, undefined);

  test('no tokenizer_config.json', () => {
    write({ max_position_embeddings: 64 });
    rmSync(path.join(folder, 'tokenizer_config.json'));
    expect(read().maxTokens).toBe(64);
  });

  test.each(['config.json', 'tokenizer_config.json', 'manifest.json'])('a byte order mark in %s', (name) => {
    write({}, { manifest: { revision: 'r', files: {} } });
    raw(name, `\uFEFF${name === 'manifest.json' ? '{"revision": "r", "files": {}}' : '{}'}`);
    expect(read().revision).toBe('r');
  });

  test('NaN and Infinity, as Python writes them, also inside a name', () => {
    write({});
    raw(
      'config.json',
      '{"dropout": NaN, "x": [-Infinity, Infinity], "id2label": {"0": "NaN \\" Infinity", "1": "b"}, "max_position_embeddings": NaN}',
    );
    raw('tokenizer_config.json', '{"model_max_length": Infinity}');
    expect([...read().id2label]).toEqual([
      [0, 'NaN " Infinity'],
      [1, 'b'],
    ]);
    expect(read().maxTokens).toBe(512);
  });

  test.each<[object, string[]]>([
    [{ id2label: { 0: 0, 1: 1 } }, ['0', '1']],
    [{ id2label: { 0: 1.5, 1: true } }, ['1.5', 'true']],
    [{ id2label: { 0: null, 1: 'b' } }, ['LABEL_0', 'b']],
    [{ id2label: { ' 0': 'a', '1 ': 'b' } }, ['a', 'b']],
    [{ id2label: ['a', 'b'] }, ['a', 'b']],
    [{ id2label: null }, ['LABEL_0', 'LABEL_1']],
    [{ id2label: {} }, ['LABEL_0', 'LABEL_1']],
    [{ label2id: { b: 1, a: 0 } }, ['a', 'b']],
    [{ label2id: { b: '1', a: '0' } }, ['a', 'b']],
    [{ id2label: null, label2id: { a: 0, b: 'x' } }, ['LABEL_0', 'LABEL_1']],
    [{ id2label: { 0: 'a', 1: 'b' }, label2id: { c: 0, d: 1 } }, ['a', 'b']],
    [{ label2id: null }, ['LABEL_0', 'LABEL_1']],
  ])('the names of %j', (config, labels) => {
    expect(labelsOf(write(config)(), 2).labels).toEqual(labels);
  });

  test.each([null, 0, -1, '', 1e30])('%j as number of positions or tokens counts as missing', (value) => {
    expect(write({ max_position_embeddings: value })().maxTokens).toBe(512);
    expect(write({}, { tokenizer: { model_max_length: value } })().maxTokens).toBe(512);
    const both = write({ max_position_embeddings: 40 }, { tokenizer: { model_max_length: value } });
    expect(both().maxTokens).toBe(40);
  });

  test.each<[object, object, number]>([
    [{ max_position_embeddings: '40' }, {}, 40],
    [{ max_position_embeddings: 40.0 }, {}, 40],
    [{ n_positions: 40 }, {}, 40],
    [{ max_position_embeddings: null, n_positions: 40 }, {}, 40],
    [{ max_position_embeddings: 40, model_type: 'luke', pad_token_id: 1 }, {}, 38],
    [{ max_position_embeddings: 40, model_type: 'roberta', pad_token_id: -1 }, {}, 38],
    [{}, { model_max_length: '40' }, 40],
  ])('%j and %j: %i tokens', (config, tokenizer, expected) => {
    expect(write(config, { tokenizer })().maxTokens).toBe(expected);
  });

  test.each([{ problem_type: null }, { problem_type: '' }, { model_type: null }, { pad_token_id: null }])(
    '%j is as if missing',
    (config) => expect(write(config)()).toMatchObject({ problemType: undefined, padTokenId: undefined }),
  );
});

describe('the ONNX file', () => {
  const place = (...names: string[]) => {
    for (const name of names) writeFileSync(path.join(folder, name), ONNX);
  };
  const file = (from = folder) => path.relative(folder, readModelFolder(from, undefined).onnxFile);

  test.each(['model_O3.onnx', path.join('onnx', 'model_fp16.onnx')])(
    '%s, when it is the only one',
    (name) => {
      write({}, { onnx: null });
      place(name);
      expect(file()).toBe(name);
    },
  );

  test('several files without a usual name: the message names them, and how to choose one', () => {
    write({}, { onnx: null });
    place('b.onnx', 'onnx/a.onnx');
    expect(() => file()).toThrow(/there are b\.onnx, onnx\/a\.onnx\. Choose one with MODEL_FILE/);
    expect(() => readModelFolder(folder, 'c.onnx')).toThrow(/looked for c\.onnx; there are b\.onnx, /);
    expect(readModelFolder(folder, 'onnx/a.onnx').onnxFile).toBe(path.join(folder, 'onnx/a.onnx'));
  });

  test('may be given instead of its folder, beside config.json or in a folder below', () => {
    write({});
    place('onnx/other.onnx', 'beside.onnx');
    expect(file(path.join(folder, 'onnx/other.onnx'))).toBe(path.join('onnx', 'other.onnx'));
    expect(file(path.join(folder, 'beside.onnx'))).toBe('beside.onnx');
    expect(readModelFolder(path.join(folder, 'beside.onnx'), undefined).folder).toBe(folder);
    expect(readModelFolder(path.join(folder, 'beside.onnx'), 'beside.onnx').folder).toBe(folder);
    expect(() => readModelFolder(path.join(folder, 'beside.onnx'), 'onnx/other.onnx')).toThrow(
      /names an ONNX file, and MODEL_FILE=onnx\/other\.onnx another/,
    );
    rmSync(path.join(folder, 'config.json'));
    expect(() => file(path.join(folder, 'beside.onnx'))).toThrow(/: no config\.json beside/);
  });
});

test('a named ONNX file has precedence over the usual names, which have an order', () => {
  const file = () => path.relative(folder, readModelFolder(folder, undefined).onnxFile);
  write({}, { onnx: 'model.onnx' });
  expect(file()).toBe('model.onnx');
  write({}, { onnx: 'onnx/model.onnx' });
  expect(file()).toBe(path.join('onnx', 'model.onnx'));
  expect(readModelFolder(folder, 'model.onnx').onnxFile).toBe(path.join(folder, 'model.onnx'));
});

test.each([
  ['roberta', 1, 512],
  ['roberta', 0, 513],
  ['camembert', null, 512],
  ['mpnet', 1, 512],
  ['bert', 1, 514],
  [undefined, 1, 514],
])('514 positions of %s with padding id %j hold %i tokens', (model_type, pad_token_id, expected) => {
  expect(write({ max_position_embeddings: 514, model_type, pad_token_id })().maxTokens).toBe(expected);
});

test.each([
  [{ max_position_embeddings: 514, model_type: 'roberta' }, { model_max_length: 256 }, 256],
  [{ max_position_embeddings: 514, model_type: 'roberta' }, { model_max_length: 514 }, 512],
  [{}, { model_max_length: 1e30 }, 512],
  [{}, { model_max_length: 8192 }, 8192],
])('the smaller limit of %j and %j holds: %i', (config, tokenizer, expected) => {
  expect(write(config, { tokenizer })().maxTokens).toBe(expected);
});

describe('labelsOf, further', () => {
  test.each([
    [{ problem_type: null }, 2, ['LABEL_0', 'LABEL_1'], 'softmax'],
    [{ problem_type: 'single_label_classification' }, 1, ['LABEL_0'], 'sigmoid'],
    [{ problem_type: 'multi_label_classification' }, 1, ['LABEL_0'], 'sigmoid'],
    [{ id2label: { 1: 'B', 0: 'A' } }, 2, ['A', 'B'], 'softmax'],
    [{ id2label: { 0: 'A', 2: 'C' } }, 4, ['A', 'LABEL_1', 'C', 'LABEL_3'], 'softmax'],
  ])('%j with %i outputs', (config, width, labels, apply) => {
    expect(labelsOf(write(config)(), width)).toEqual({ labels, apply });
  });

  test.each([
    [{ 0: 'A', 1: 'B' }, 1],
    [{ 2: 'C' }, 2],
    [{ 0: 'A' }, 0],
  ])('%j with %i outputs ends the start', (id2label, width) => {
    const model = write({ id2label })();
    expect(() => labelsOf(model, width)).toThrow(StartupError);
  });
});

describe('invalid files, numbers and limits', () => {
  test('a folder where the ONNX file should be', () => {
    write({});
    expect(() => readModelFolder(folder, 'onnx')).toThrow(StartupError);
  });
  test('a label index that is not a number', () =>
    expect(write({ id2label: { x: 'A' } })).toThrow(/config\.json cannot be used.*id2label/));
  test('a token limit without room for a text', () =>
    expect(write({ model_type: 'roberta', max_position_embeddings: 2, pad_token_id: 1 })).toThrow(
      /leaves no room/,
    ));
  test('a limit that is null or broken', () => {
    expect(write({}, { tokenizer: { model_max_length: null } })().maxTokens).toBe(512);
    expect(write({}, { tokenizer: { model_max_length: 10.5 } })().maxTokens).toBe(10);
  });
});
