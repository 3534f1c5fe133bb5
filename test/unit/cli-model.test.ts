/** `amulet model`: its arguments, the choice of a repository's files, and the lines on a vocabulary. */
import { describe, expect, test } from 'vitest';
import { CliError, UsageError } from '../../src/cli/terminal/exit.ts';
import { parseModel } from '../../src/cli/model/command-line.ts';
import {
  chooseExternalFiles,
  chooseFiles,
  refuseCollisions,
  type HubFile,
} from '../../src/cli/model/hub-files.ts';
import { vocabulary } from '../../src/cli/model/vocabulary.ts';

describe('the command line', () => {
  test('pull: defaults', () => {
    expect(parseModel(['pull', 'somebody/some-model'])).toEqual({
      kind: 'pull',
      id: 'somebody/some-model',
      revision: 'main',
      file: undefined,
      out: 'models/some-model',
      force: false,
      quiet: false,
      retryTimeoutMs: 120_000,
      args: ['somebody/some-model'],
    });
    expect(parseModel(['pull', 'old-model'])).toMatchObject({ out: 'models/old-model' });
  });

  test('check: defaults', () => {
    expect(parseModel(['check', 'models/x'])).toEqual({
      kind: 'check',
      folder: 'models/x',
      file: undefined,
      texts: [],
      json: false,
    });
  });

  test('all options', () => {
    const options = '--revision v1 --file onnx/a.onnx -o there --force -q --patience 7'.split(' ');
    expect(parseModel(['pull', ...options, 'a/b'])).toMatchObject({
      revision: 'v1',
      file: 'onnx/a.onnx',
      out: 'there',
      force: true,
      quiet: true,
      retryTimeoutMs: 7000,
    });
    expect(parseModel('check m --file a.onnx --text one --text two --json'.split(' '))).toMatchObject({
      file: 'a.onnx',
      texts: ['one', 'two'],
      json: true,
    });
  });

  test.each([['--help'], ['-h'], ['pull', '--help'], ['check', '-h']])('%s %s: help', (...args) => {
    expect(parseModel(args)).toBe('help');
  });

  test.each([
    [[], 'missing command: model pull or model check; see amulet model --help'],
    [['push'], 'unknown command model push; see amulet model --help'],
    [['pull'], 'missing ID, such as Xenova/distilbert-base-uncased-finetuned-sst-2-english'],
    [['pull', ''], 'missing ID, such as Xenova/distilbert-base-uncased-finetuned-sst-2-english'],
    [['pull', 'a/b', 'c/d'], 'only one ID is allowed: a/b c/d'],
    [['pull', 'a/b/c'], 'a/b/c is not a model ID such as owner/name'],
    [['pull', '../b'], '../b is not a model ID such as owner/name'],
    [['pull', 'a/..'], 'a/.. is not a model ID such as owner/name'],
    [
      ['pull', 'https://huggingface.co/a/b'],
      'https://huggingface.co/a/b is not a model ID such as owner/name',
    ],
    [['pull', 'a/b', '--out', ''], '--out must not be empty'],
    [['pull', 'a/b', '--revision', ''], '--revision must not be empty'],
    [['pull', 'a/b', '--patience', '1.5'], '--patience 1.5: must be a whole number of seconds'],
    [['pull', 'a/b', '--file'], '--file needs a value'],
    [['pull', 'a/b', '--force=yes'], '--force takes no value'],
    [['pull', 'a/b', '--json'], 'unknown option --json; see amulet model --help'],
  ])('%j: wrong usage', (args, message) => {
    expect(() => parseModel(args)).toThrow(new UsageError(message));
  });
});

describe('the chosen files', () => {
  const file = (path: string): HubFile => ({ path, bytes: 1, hash: { algorithm: 'sha256', hex: '00' } });
  const base = ['config.json', 'tokenizer.json', 'tokenizer_config.json'];
  const choose = (names: string[], wanted?: string) => {
    const { model, files } = chooseFiles('a/b', [...base, ...names].map(file), wanted);
    return {
      model: model.path,
      others: files.map(({ path }) => path).filter((path) => !base.includes(path)),
    };
  };

  test('the first of the ONNX files that a worker looks for', () => {
    const all = ['model.onnx', 'onnx/model_fp16.onnx', 'onnx/model.onnx', 'onnx/model_quantized.onnx'];
    expect(choose(all).model).toBe('onnx/model_quantized.onnx');
    expect(choose(all.slice(0, 3)).model).toBe('onnx/model.onnx');
    expect(choose(all.slice(0, 2)).model).toBe('model.onnx');
    expect(choose(all, 'onnx/model_fp16.onnx')).toEqual({
      model: 'onnx/model_fp16.onnx',
      others: ['onnx/model_fp16.onnx'],
    });
  });

  test('the only ONNX file, where a worker finds it', () => {
    expect(choose(['onnx/model_O3.onnx', 'old/model_O3.onnx']).model).toBe('onnx/model_O3.onnx');
    expect(() => choose(['onnx/model_O3.onnx', 'model_O2.onnx'])).toThrow('a/b has none of ');
    expect(() => choose(['old/model_O3.onnx'])).toThrow('a/b has none of ');
  });

  test('the weights of the model, and no others', () => {
    const names = ['.onnx', '.onnx_data', '.onnx_data_1', '.onnx.data'].map((end) => `onnx/model${end}`);
    const others = [
      'onnx/model_fp16.onnx',
      'onnx/model_fp16.onnx_data',
      'onnx/model.onnx.md',
      'model.onnx_data',
    ];
    expect(choose([...names, ...others])).toEqual({ model: 'onnx/model.onnx', others: names });
  });

  test('documents, and no other files', () => {
    const taken = ['special_tokens_map.json', 'amulet.json', 'README.md', 'LICENSE'];
    const left = ['pytorch_model.bin', 'model.safetensors', 'vocab.txt', 'docs/README.md', '.gitattributes'];
    expect(choose([...left, ...taken, 'model.onnx']).others).toEqual([...taken, 'model.onnx']);
  });

  test.each([
    ['onnx/model.onnx_data/../../x'],
    ['onnx/model.onnx_data//x'],
    ['onnx/model.onnx_data/./x'],
    ['onnx/model.onnx_data\\..\\x'],
    ...[
      '\n',
      '\0',
      '\x1b',
      '\x7f',
      '\x85',
      '\x9b',
      '\u202e',
      '\u2066',
      '\u200b',
      '\u2028',
      '\ufeff',
      '\ud800',
    ].map((character) => [`onnx/model.onnx_data${character}`]),
    ...[...':*?"<>|'].map((character) => [`onnx/model.onnx_data${character}x`]),
    ['onnx/model.onnx_data.'],
    ['onnx/model.onnx_data '],
    ['onnx/model.onnx_data/ x'],
    ['onnx/model.onnx_data/CON'],
    ['onnx/model.onnx_data/nul.txt'],
    ['onnx/model.onnx_data/com1'],
  ])('%j is refused', (path) => {
    expect(() => choose(['onnx/model.onnx', path])).toThrow(
      `a/b has a file with an unsafe name: ${JSON.stringify(path)}`,
    );
  });

  test.each([['onnx/model.onnx_data/concat'], ['onnx/model.onnx_data ü 图']])('%j is not', (path) => {
    expect(choose(['onnx/model.onnx', path]).others).toContain(path);
  });

  test.each([
    ['onnx/model.onnx_data', 'onnx/model.onnx_DATA'],
    ['onnx/model.onnx_data\u00e9', 'onnx/model.onnx_datae\u0301'],
    ['onnx/model.onnx_data', 'onnx/model.onnx_data'],
  ])('%j beside %j is refused: they are one file on some disks', (path, other) => {
    const files = ['onnx/model.onnx', path, other].map(file);
    expect(() => refuseCollisions('a/b', files)).toThrow('which are one file on some disks');
  });

  test('names may have 255 bytes, and paths 1,024', () => {
    const start = 'onnx/model.onnx_data';
    const name = (bytes: number) => start.padEnd('onnx/'.length + bytes, 'x');
    const long = (bytes: number) => `${start}/${'a/'.repeat(bytes)}`.slice(0, bytes - 1) + 'b';
    for (const path of [name(255), long(1024)])
      expect(choose(['onnx/model.onnx', path]).others).toContain(path);
    for (const path of [name(256), long(1026)]) {
      expect(() => choose(['onnx/model.onnx', path])).toThrow(
        `a/b has a file with an unsafe name: ${JSON.stringify(path.slice(0, 300))}`,
      );
    }
  });

  test('at most a thousand files of weights', () => {
    const names = (count: number) => Array.from({ length: count }, (_, i) => `onnx/model.onnx_data_${i}`);
    expect(choose(['onnx/model.onnx', ...names(990)]).others).toHaveLength(991);
    expect(() => choose(['onnx/model.onnx', ...names(1001)])).toThrow('has more than 1000 files of weights');
  });

  test('thirty of many ONNX files are named', () => {
    const names = Array.from({ length: 1000 }, (_, i) => `onnx/m${i}.onnx`);
    const { hints } = caught(() => choose(names)) as CliError;
    expect(hints).toHaveLength(32);
    expect(hints.at(-1)).toBe('  and 970 more');
  });

  test('a missing file is named, with advice', () => {
    const choice = () => chooseFiles('a/b', ['config.json', 'model.onnx'].map(file), undefined);
    expect(choice).toThrow('a/b has no tokenizer.json');
    expect(() => choose([])).toThrow('a/b has no ONNX file');
    expect(() => choose(['onnx/x.onnx', 'onnx/y.onnx'])).toThrow(
      expect.objectContaining({
        hints: ['Choose one of its ONNX files with --file:', '  onnx/x.onnx', '  onnx/y.onnx'],
      }) as CliError,
    );
  });

  test('weights with the names in the graph', () => {
    const files = ['onnx/m.onnx', 'onnx/w.bin', 'onnx/sub/w.bin', 'w.bin'].map(file);
    const external = (...locations: string[]) =>
      chooseExternalFiles('a/b', files, files[0]!, locations).map(({ path }) => path);
    expect(external('w.bin', 'sub/w.bin')).toEqual(['onnx/w.bin', 'onnx/sub/w.bin']);
    expect(external()).toEqual([]);
    expect(() => external('x.bin')).toThrow('a/b has no onnx/x.bin, where onnx/m.onnx has its weights');
    expect(() =>
      chooseExternalFiles('a/b', [file('manifest.json')], file('model.onnx'), ['manifest.json']),
    ).toThrow('has a file with an unsafe name: "manifest.json"');
    for (const location of ['../w.bin', '/etc/passwd', 'sub/../w.bin', ''])
      expect(() => external(location)).toThrow(`has a file with an unsafe name: ${JSON.stringify(location)}`);
  });
});

function caught(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return error;
  }
}

describe('the scripts of a vocabulary', () => {
  const samples = (shares: Record<string, number>) =>
    Object.entries(shares).map(([script, unknown]) => ({ script, tokens: 12, unknown }));

  test.each([
    ['all of it', { emoji: 0, Greek: 0 }, ['Vocabulary  has emoji, Greek']],
    ['nothing', { emoji: 1 }, ['Vocabulary  lacks emoji 100 % (of the tokens of a sample)']],
    [
      'a part',
      { emoji: 0.001, Greek: 0, Chinese: 0.692 },
      [
        'Vocabulary  has Greek',
        '            lacks emoji under 1 %, Chinese 69 % (of the tokens of a sample)',
      ],
    ],
  ])('%s', (_, shares, lines) => expect(vocabulary(samples(shares))).toEqual(lines));

  test('wraps at 80 columns and keeps a share with its unit', () => {
    const scripts = Object.fromEntries(Array.from({ length: 30 }, (__, i) => [`script${i}`, 0.5 + i / 100]));
    const lines = vocabulary(samples(scripts));
    expect(lines.length).toBeGreaterThan(5);
    for (const line of lines) {
      expect(line.length).toBeLessThanOrEqual(80);
      expect(line).toMatch(/^(?:Vocabulary {2}| {12})\S/);
      expect(line).not.toMatch(/^ +%/);
    }
  });
});
