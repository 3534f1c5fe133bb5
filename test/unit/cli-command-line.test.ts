/** The arguments of `amulet backfill`, and the one-line error for wrong ones. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  completeOptions,
  completeReading,
  parseBackfill,
  type BackfillCommand,
} from '../../src/cli/backfill/command-line.ts';
import { EXIT, UsageError } from '../../src/cli/terminal/exit.ts';
import { BACKFILL_HELP, HELP, KEY_HELP, LISTEN_HELP, MODEL_HELP } from '../../src/cli/help.ts';
import { connectTo } from '../../src/cli/backfill/server.ts';
import { restartCommand, restartWith, resumeCommand } from '../../src/cli/backfill/suggested-commands.ts';

const parse = (...args: string[]) => parseBackfill(args) as BackfillCommand;

test('all options', () => {
  // prettier-ignore
  const args = [
    'in.csv', '--out', 'out.jsonl', '--url', 'https://example.org/amulet/', '--format', 'csv', '--text-field', 'review',
    '--id-field', 'key', '--delimiter', '\\t', '--top-k', 'all', '--model', 'm', '--metadata', '{"a":1}', '--force',
    '--resume', '--delete', '--quiet', '--patience', '5',
  ];
  expect(parse(...args)).toEqual({
    files: ['in.csv'],
    out: 'out.jsonl',
    dryRun: false,
    retryErrors: false,
    mode: 'resume',
    url: new URL('https://example.org/amulet/'),
    options: {
      format: 'csv',
      text_field: 'review',
      id_field: 'key',
      delimiter: 'tab',
      top_k: 'all',
      model: 'm',
      metadata: '{"a":1}',
    },
    reading: {},
    output: {},
    summary: undefined,
    force: true,
    deleteBatch: true,
    quiet: true,
    retryTimeoutMs: 5000,
    args,
  });
});

test('options left out are undefined', () => {
  expect(parse('-', '-o', '-')).toMatchObject({
    files: ['-'],
    out: '-',
    mode: 'start',
    url: undefined,
    options: {},
    reading: {},
    output: {},
    summary: undefined,
    retryTimeoutMs: 900_000,
  });
  expect(parseBackfill(['-h'])).toBe('help');
  expect(parse('--out', 'o', '--', '-odd')).toMatchObject({ files: ['-odd'] });
});

describe('usage errors of one line', () => {
  test.each<[string, string[]]>([
    ['missing FILE (use - for standard input)', ['--out', 'o']],
    ['FILE must not be empty', ['', '--out', 'o']],
    ['FILE must not be empty', ['a', '', '--out', 'o']],
    ['--glob must not be empty', ['f', '--out', 'o', '--glob', '']],
    ['--format cannot be used with --whole-files', ['f', '--out', 'o', '--whole-files', '--format', 'csv']],
    ['missing --out OUT (use - for standard output)', ['f']],
    ['missing --out OUT (use - for standard output)', ['f', '--out', '']],
    ['unknown option --textfield; see amulet backfill --help', ['f', '--textfield', 'x']],
    ['unknown option -x; see amulet backfill --help', ['f', '-x']],
    ['--out needs a value', ['f', '--out']],
    ['--model needs a value', ['f', '--model', '--out', 'o']],
    ['--force takes no value', ['f', '--out', 'o', '--force=yes']],
    ['--resume and --restart cannot be used together', ['f', '--out', 'o', '--resume', '--restart']],
    ['--limit and --sample cannot be used together', ['f', '--out', 'o', '--limit', '1', '--sample', '1']],
    ['--limit 0: must be a number of rows', ['f', '--out', 'o', '--limit', '0']],
    ['--sample 1e3: must be a number of rows', ['f', '--out', 'o', '--sample', '1e3']],
    ['--out - cannot be used with --resume', ['f', '--out', '-', '--resume']],
    [
      '--url localhost:3000: must be a URL such as http://127.0.0.1:3000',
      ['f', '--out', 'o', '--url', 'localhost:3000'],
    ],
    ["--url '': must be a URL such as", ['f', '--out', 'o', '--url', '']],
    ["--url 'http://a/?b': must be a URL such as", ['f', '--out', 'o', '--url', 'http://a/?b']],
    ['--url must not contain a user name', ['f', '--out', 'o', '--url', 'http://me:secret@host']],
    ['--format xml: must be ndjson, json, csv, lines or parquet', ['f', '--out', 'o', '--format', 'xml']],
    ['--top-k 0: must be a number from 1 to 999999, or all', ['f', '--out', 'o', '--top-k', '0']],
    ['--threshold high: must be a number, "model", or an object', ['f', '--out', 'o', '--threshold', 'high']],
    ["--threshold '{}': must name at least one label", ['f', '--out', 'o', '--threshold', '{}']],
    ['joy must be a finite number', ['f', '--out', 'o', '--threshold', '{"joy": "x"}']],
    [
      '--function-to-apply tanh: must be softmax, sigmoid or none',
      ['f', '--out', 'o', '--function-to-apply', 'tanh'],
    ],
    ["--delimiter '||': must be tab or one ASCII character", ['f', '--out', 'o', '--delimiter', '||']],
    [`--delimiter '"': must be tab or one ASCII character`, ['f', '--out', 'o', '--delimiter', '"']],
    ['--text-field must not be empty', ['f', '--out', 'o', '--text-field', '']],
    ['--metadata is not valid JSON', ['f', '--out', 'o', '--metadata', '{a}']],
    ['--metadata must be a JSON object', ['f', '--out', 'o', '--metadata', '[1]']],
    ['--patience -1: must be a whole number of seconds', ['f', '--out', 'o', '--patience=-1']],
  ])('%s', (message, args) => {
    const error = thrown(() => parseBackfill(args));
    expect(error).toBeInstanceOf(UsageError);
    expect(error).toMatchObject({ exitCode: EXIT.usage, message: expect.stringContaining(message) });
    expect(error.message).not.toMatch(/\n|secret/);
  });
});

function thrown(act: () => unknown): Error {
  try {
    act();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

describe('the format', () => {
  test.each<[string, object]>([
    ['a.jsonl', { format: 'ndjson' }],
    ['dir.csv/a.ndjson.gz', { format: 'ndjson' }],
    ['a.json', { format: 'ndjson' }],
    ['A.CSV.GZ', { format: 'csv' }],
    ['a.tsv', { format: 'csv', delimiter: 'tab', quote: 'line' }],
    ['/x/y.z/a.b.txt', { format: 'lines' }],
  ])('of %s', (file, expected) => {
    expect(completeOptions(file, {})).toEqual(expected);
  });

  test('a given option overrides the file name', () => {
    expect(completeOptions('a.tsv', { delimiter: ';' })).toEqual({ format: 'csv', delimiter: ';' });
    expect(completeOptions('a.csv', { format: 'lines' })).toEqual({ format: 'lines' });
    expect(completeOptions('-', { format: 'csv', top_k: 'all' })).toEqual({ format: 'csv', top_k: 'all' });
  });

  test.each<[string, string, object]>([
    ['unknown format of a.data: use --format ndjson, json, csv, lines or parquet', 'a.data', {}],
    ['unknown format of a.gz:', 'a.gz', {}],
    ['unknown format of standard input:', '-', {}],
    ['--delimiter is for CSV only', 'a.txt', { delimiter: ';' }],
    ['plain lines have no fields', 'a.txt', { id_field: 'id' }],
  ])('%s', (message, file, given) => {
    expect(() => completeOptions(file, given)).toThrow(message);
  });
});

describe('suggested commands can be typed as they are', () => {
  // prettier-ignore
  const command = parse("it's.csv", '-o', 'my out', '--url', 'http://h:1', '--top-k', '3', '--metadata', '{"a": 1}', '--delete');

  test('resume', () => {
    expect(resumeCommand(command)).toBe(`amulet backfill 'it'\\''s.csv' --out 'my out' --delete --resume`);
  });

  test('restart', () => {
    expect(restartCommand({ ...command, args: [...command.args, '--resume'] })).toBe(
      `amulet backfill 'it'\\''s.csv' -o 'my out' --url http://h:1 --top-k 3 --metadata '{"a": 1}' --delete --restart`,
    );
  });

  test('restart with the options of an earlier run', () => {
    const bare = parse('in.data', '--out', 'o', '--resume');
    const options = {
      format: 'csv',
      delimiter: ';',
      text_field: 't',
      columns: 't;u',
      first_line: 2,
    } as const;
    expect(restartWith(bare, new URL('http://h:1'), { options })).toBe(
      "amulet backfill in.data --out o --url http://h:1 --format csv --text-field t --delimiter ';' --restart",
    );
    expect(
      restartWith(parse('a.jsonl', '-o', 'o'), new URL('http://127.0.0.1:3000'), {
        options: { format: 'ndjson' },
        output: { output_format: 'csv', keep: ['a', 'b,c'], raw_csv: true },
      }),
    ).toBe('amulet backfill a.jsonl --out o --output-format csv --keep \'a,"b,c"\' --raw-csv --restart');
  });
});

test('the help fits a terminal of 80 columns and names every option', () => {
  const all = [HELP, BACKFILL_HELP, KEY_HELP, LISTEN_HELP, MODEL_HELP].join('');
  for (const line of all.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  // prettier-ignore
  for (const name of ['threshold', 'function-to-apply', 'out', 'url', 'format', 'text-field', 'id-field', 'delimiter', 'top-k', 'model', 'metadata', 'resume',
    'restart', 'force', 'delete', 'quiet', 'patience', 'glob', 'whole-files', 'dry-run']) {
    expect(BACKFILL_HELP).toMatch(new RegExp(`^ +(-., )?--${name}\\b`, 'm'));
  }
  for (const code of Object.values(EXIT)) expect(BACKFILL_HELP).toMatch(new RegExp(`\\b${code}\\b`));
});

describe('the API key of the environment', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test.each(['amk_secret\namk_secret', 'Bearer amk_secret', 'amk_sécret'])('%j is no key', (key) => {
    vi.stubEnv('AMULET_API_KEY', key);
    const connect = () => connectTo(new URL('http://127.0.0.1:3000'));
    expect(connect).toThrow(
      new UsageError('AMULET_API_KEY contains characters that are not allowed in a key'),
    );
  });

  test('may end with a line feed, or be empty', () => {
    for (const key of ['amk_1\n', '']) {
      vi.stubEnv('AMULET_API_KEY', key);
      connectTo(new URL('http://127.0.0.1:3000')).close();
    }
  });
});

test.each([
  ['cp1251', { encoding: 'windows-1251' }],
  ['latin1', { encoding: 'windows-1252' }],
  ['UTF-16', { encoding: 'utf-16le' }],
  ['utf8', {}],
])('--encoding %s', (label, reading) => {
  expect(parse('in.csv', '--out', 'out', '--encoding', label).reading).toEqual(reading);
});

test('an unknown --encoding names known ones', () => {
  expect(() => parse('in.csv', '--out', 'out', '--encoding', 'utf-7')).toThrow(
    /^--encoding utf-7: .*windows-1251/,
  );
});

test.each<[string, string[], object, string]>([
  ['in.json', [], { format: 'json' }, 'ndjson'],
  ['in.json.gz', ['--encoding', 'cp1251'], { format: 'json', encoding: 'windows-1251' }, 'ndjson'],
  ['in.json', ['--format', 'ndjson'], {}, 'ndjson'],
  ['in.txt', ['--format', 'json'], { format: 'json' }, 'ndjson'],
  ['in.parquet', [], { format: 'parquet' }, 'ndjson'],
  ['in.csv', [], {}, 'csv'],
])('%s %j: what the command converts, and what the server reads', (file, args, reading, format) => {
  const command = parse(file, '--out', 'out', ...args);
  expect(completeReading(file, command)).toEqual(reading);
  expect(completeOptions(file, command.options).format).toBe(format);
});

test.each([
  ['0.5', '0.5'],
  ['model', 'model'],
  ['{ "joy":   0.3 }', '{"joy":0.3}'],
])('--threshold %s is sent as %s', (given, sent) => {
  const args = ['f', '--out', 'o', '--threshold', given, '--function-to-apply', 'none'];
  expect(parseBackfill(args)).toMatchObject({ options: { threshold: sent, function_to_apply: 'none' } });
});
