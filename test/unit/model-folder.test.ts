import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/errors.ts';
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

describe('what is wrong is said in one line that names the file', () => {
  test('no folder', () => {
    expect(() => readModelFolder('/no/such/folder', undefined)).toThrow(
      new StartupError('MODEL_DIR=/no/such/folder does not exist'),
    );
  });
  test('no ONNX file', () =>
    expect(write({}, { onnx: null })).toThrow(/has no ONNX file: looked for onnx\/model_quantized/));
  test('an ONNX file that was named and is not there', () => {
    write({});
    expect(() => readModelFolder(folder, 'onnx/other.onnx')).toThrow(/looked for onnx\/other.onnx/);
  });
  test('a config that is no JSON', () => {
    const read = write({});
    writeFileSync(path.join(folder, 'config.json'), '{');
    expect(read).toThrow(/config\.json cannot be used/);
  });
  test('a problem_type nobody knows', () =>
    expect(write({ problem_type: 'ranking' })).toThrow(/config\.json cannot be used/));
  test('a damaged file', () => {
    expect(
      write({}, { manifest: { revision: 'r', files: { 'onnx/model.onnx': { sha256: '0'.repeat(64) } } } }),
    ).toThrow(/model\.onnx is damaged/);
  });
  test('a missing file of the manifest', () => {
    expect(write({}, { manifest: { revision: 'r', files: { 'vocab.txt': { sha256 } } } })).toThrow(
      /vocab\.txt is missing/,
    );
  });
});

test('the quantised file is preferred', () => {
  write({}, { onnx: 'onnx/model_quantized.onnx' });
  expect(readModelFolder(folder, undefined).onnxFile).toMatch(/model_quantized\.onnx$/);
});

test('the manifest names the revision, else a hash of all that scores depend on does', () => {
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

  test('more names than outputs cannot be right', () => {
    expect(() => labelsOf(write({ id2label: { 0: 'A', 1: 'B', 2: 'C' } })(), 2)).toThrow(
      /names 3 labels, but the graph has 2 outputs/,
    );
  });

  test('all names and more outputs neither: they are those of another graph', () => {
    expect(() => labelsOf(write({ id2label: { 0: 'A', 1: 'B' } })(), 3)).toThrow(
      /names 2 labels, but the graph has 3 outputs/,
    );
  });
});

describe('more that is wrong is said, too', () => {
  test.each(['config.json', 'tokenizer_config.json'])('%s is missing', (name) => {
    const read = write({});
    rmSync(path.join(folder, name));
    expect(read).toThrow(StartupError);
    expect(read).toThrow(new RegExp(`${name} cannot be used: ENOENT`));
  });

  test.each<[string, string, string]>([
    ['half a file', 'config.json', '{"id2label": {"0": "A"'],
    ['an empty file', 'tokenizer_config.json', ''],
    ['a list', 'config.json', '[]'],
    ['id2label as a list', 'config.json', '{"id2label": ["A", "B"]}'],
    ['a number for a label', 'config.json', '{"id2label": {"0": 1}}'],
    ['no positions', 'config.json', '{"max_position_embeddings": 0}'],
    ['a limit below 0', 'tokenizer_config.json', '{"model_max_length": -1}'],
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

  test('one bit that differs from the manifest', () => {
    const read = write({}, { manifest: { revision: 'r', files: { 'onnx/model.onnx': { sha256 } } } });
    expect(read().revision).toBe('r');
    writeFileSync(path.join(folder, 'onnx/model.onnx'), ONNX.replace('n', 'o'));
    expect(read).toThrow(StartupError);
    expect(read).toThrow(/model\.onnx is damaged/);
  });
});

test('an ONNX file that is named wins over the ones looked for, which have an order', () => {
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

describe('what is no file, no number, or no room', () => {
  test('a folder where the ONNX file should be', () => {
    write({});
    expect(() => readModelFolder(folder, 'onnx')).toThrow(StartupError);
  });
  test('a label number that is none', () =>
    expect(write({ id2label: { x: 'A' } })).toThrow(/config\.json cannot be used.*id2label/));
  test('a model without room for a text', () =>
    expect(write({ model_type: 'roberta', max_position_embeddings: 2, pad_token_id: 1 })).toThrow(
      /leaves no room/,
    ));
  test('a limit that is null or broken', () => {
    expect(write({}, { tokenizer: { model_max_length: null } })().maxTokens).toBe(512);
    expect(write({}, { tokenizer: { model_max_length: 10.5 } })().maxTokens).toBe(10);
  });
});
