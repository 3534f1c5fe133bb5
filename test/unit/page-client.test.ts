/** The functions of the page's scripts that need no browser. */
import { execFileSync } from 'node:child_process';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { batchInput, proposedFormat, type BatchOptions } from '../../src/api/pages/client/batch-input.ts';
import { Curl } from '../../src/api/pages/client/curl.ts';
import { bytes, duration, rate, score, shortCount } from '../../src/api/pages/client/format.ts';
import { doubtOf, findFields, readHead } from '../../src/api/pages/client/peek.ts';
import { examplesFor } from '../../src/api/pages/client/examples.ts';
import { optionText, readsText } from '../../src/api/pages/client/model-text.ts';
import { countsOf, tallyOf } from '../../src/api/pages/client/tally.ts';
import { tonesOf } from '../../src/api/pages/client/tones.ts';
import { languageList } from '../../src/shared/contract/languages.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import { labelHint, unknownRows } from '../../src/api/pages/client/unknown.ts';

/** The words that a shell makes of a command, whose name is `curl`. */
function words(command: string): string[] {
  const script = `curl() { printf '%s\\0' "$@"; }\n${command}`;
  const output = execFileSync('/bin/sh', ['-c', script], {
    encoding: 'utf8',
    env: { AMULET_API_KEY: 'amk_secret' },
  });
  return output.split('\0').slice(0, -1);
}

describe('a command line', () => {
  const curl = new Curl('http://host:3000/', { needsKey: false });

  test('passes every text through the shell unchanged', () => {
    // A shell starts for each of them. No process can be given a NUL.
    const anyText = fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(anyText, (text) => {
        const body = { text, top_k: null };
        const job = ['-s', 'http://host:3000/v1/jobs', '-H', 'Content-Type: application/json', '-d'];
        expect(words(curl.createJob(body))).toEqual([...job, JSON.stringify(body)]);
      }),
      { numRuns: 25, examples: [[`'`], [`it's $HOME \`id\` "x" \\ !\n`], ['\\'], ['🎬']] },
    );
  });

  test('reads the key from the environment', () => {
    const line = new Curl('http://host', { needsKey: true }).read('/v1/jobs/1?wait=30');
    expect(line).toBe(`curl -s 'http://host/v1/jobs/1?wait=30' -H "Authorization: Bearer $AMULET_API_KEY"`);
    expect(words(line).at(-1)).toBe('Authorization: Bearer amk_secret');
  });

  test.each([
    ['reviews.csv', ['-T', 'reviews.csv']],
    ["it's $1.csv", ['-T', "it's $1.csv"]],
    ['-', ['-T', './-']],
    ['-o.csv', ['-T', './-o.csv']],
  ])('sends exactly the file %s', (file, expected) => {
    const line = curl.createBatch({ path: '/v1/batches', headers: { 'Content-Type': 'text/csv' } }, file);
    expect(words(line).slice(-2)).toEqual(expected);
    expect(words(line)).not.toContain('-g');
  });

  test('does not let curl expand brackets in a file name', () => {
    expect(words(curl.createBatch({ path: '/', headers: {} }, 'a{1,2}[3].csv'))).toContain('-g');
  });
});

describe('a file', () => {
  test.each([
    ['a.jsonl', 'ndjson'],
    ['a.NDJSON.gz', 'ndjson'],
    ['a.b.csv', 'csv'],
    ['a.tsv.gz', 'tsv'],
    ['a.json', 'ndjson'],
    ['a.txt', 'lines'],
    ['a.constructor', 'lines'],
    ['csv', 'lines'],
    ['a.gz', 'lines'],
  ])('%s is proposed as %s', (name, format) => {
    expect(proposedFormat(name)).toBe(format);
  });

  test('is submitted without options that equal their defaults', () => {
    const options: BatchOptions = {
      format: 'csv',
      gzip: false,
      textField: 'text',
      topK: '1',
      model: undefined,
    };
    expect(batchInput(options)).toEqual({ path: '/v1/batches', headers: { 'Content-Type': 'text/csv' } });
    expect(batchInput({ ...options, gzip: true, textField: 'a&b', topK: 'all', model: 'm' })).toEqual({
      path: '/v1/batches?text_field=a%26b&top_k=all&model=m',
      headers: { 'Content-Type': 'text/csv', 'Content-Encoding': 'gzip' },
    });
    expect(batchInput({ ...options, format: 'lines', textField: 'a' }).path).toBe('/v1/batches');
  });

  test.each<[string, string, BatchOptions['format'], string[], string | undefined]>([
    ['its field named text', '{"a":"longer than that","text":"x"}\n', 'ndjson', ['a', 'text'], 'text'],
    ['the longest string', '\n{"id":7,"a":"x","b":"a review"}\n{"c":"y"}', 'ndjson', ['a', 'b'], 'b'],
    [
      'a column in quotes',
      'id;x,"the ""text"""\r\n1,"a, ""b""\nc"\r\n',
      'csv',
      ['id;x', 'the "text"'],
      'the "text"',
    ],
    ['a column of tabs', 'id\treview\n1\tgood', 'tsv', ['id', 'review'], 'review'],
    ['an empty file', '', 'ndjson', [], undefined],
    ['not JSON', 'nonsense', 'ndjson', [], undefined],
    ['plain lines', 'a,b', 'lines', [], undefined],
  ])('%s', (_, head, format, names, likely) => {
    expect(findFields(head, format)).toEqual({ names, likely });
  });

  test.each<[string, string, BatchOptions['format'], RegExp | undefined]>([
    ['an array on one line', '[{"text":"a"},{"text":"b"}]', 'ndjson', /^This looks like one JSON array/],
    ['an array over lines', '\n[\n  {"text": "a"}\n]\n', 'ndjson', /^This looks like one JSON array/],
    ['an object over lines', '{\n  "text": "a"\n}\n', 'ndjson', /^The first line is not a JSON object/],
    ['a table', 'id,text\n1,a\n', 'ndjson', /^The first line is not a JSON object/],
    ['what is no text', '\u0089PNG\r\n\u001a\n\0\0\0\rIHDR', 'lines', /^This does not look like UTF-8 text/],
    ['records', '\n{"text":"a"}\r\n{bad', 'ndjson', undefined],
    ['a record that is cut', '{"text":"'.padEnd(64 * 1024, 'a'), 'ndjson', undefined],
    ['an empty file', '', 'ndjson', undefined],
    ['a table as such', 'id,text\n1,a\n', 'csv', undefined],
  ])('is doubted where needed: %s', (_, head, format, doubt) => {
    const said = doubtOf(head, format);
    if (doubt) expect(said).toMatch(doubt);
    else expect(said).toBeUndefined();
  });

  test('is read only at its start, gzipped or not', async () => {
    const text = 'a line of text\n'.repeat(200_000);
    const plain = await readHead(new Blob([text]));
    expect(plain.gzip).toBe(false);
    expect(text.startsWith(plain.text)).toBe(true);
    expect(plain.text.length).toBeLessThan(100_000);
    const random = Array.from({ length: 30_000 }, (_, i) => Math.imul(i, 2_654_435_761).toString(36)).join(
      '\n',
    );
    const head = await readHead(new Blob([gzipSync(random)]));
    expect(head.gzip).toBe(true);
    expect(random.startsWith(head.text)).toBe(true);
    expect(head.text.length).toBeGreaterThan(1000);
  });
});

test('numbers are short', () => {
  expect([shortCount(99_999), shortCount(309_431)]).toEqual(['99,999', '309.4K']);
  expect([rate(0), rate(3.21), rate(1650.2)]).toEqual(['0', '3.2', '1,650']);
  expect([bytes(0), bytes(999), bytes(12_700_000), bytes(5e15)]).toEqual([
    '0 B',
    '999 B',
    '12.7 MB',
    '5000.0 TB',
  ]);
  expect([0.2, 89, 90, 7200, 200_000].map(duration)).toEqual([
    '1 s',
    '89 s',
    '2 min',
    '2 h 0 min',
    '2 d 7 h',
  ]);
  expect([score(0.9841, true), score(-1.5, false)]).toEqual(['98.4 %', '-1.500']);
});

describe('hints about unknown tokens', () => {
  test.each([
    [{ truncated: false }, ''],
    [{ truncated: true }, 'The text is longer than the model can read: its end was cut off.'],
    [{ truncated: false, unknown: 0.4 }, 'Of this text, 40 % is unknown to the model.'],
    [{ truncated: false, unknown: 0.0001 }, 'Of this text, under 1 % is unknown to the model.'],
    [
      { truncated: true, unknown: 0.999 },
      'The text is longer than the model can read: its end was cut off. Of this text, over 99 % is unknown to the model.',
    ],
  ])('of a text: %j', (row, hint) => expect(labelHint(row)).toBe(hint));

  test.each([
    [1, ['en'], 'Of this text, 100 % is unknown to the model, which reads English.'],
    [0.9545, ['ru', 'en'], 'Of this text, 95 % is unknown to the model, which reads Russian and English.'],
    // An emoji has no language.
    [0.25, ['en'], 'Of this text, 25 % is unknown to the model.'],
    [1, null, 'Of this text, 100 % is unknown to the model.'],
  ])('of a text with %d unknown, to a model of %j', (unknown, languages, hint) =>
    expect(labelHint({ truncated: false, unknown }, languages)).toBe(hint),
  );

  test('of a file', () => {
    expect(unknownRows({ with_unknown: 0, mean_unknown: null })).toBeUndefined();
    expect(unknownRows({ with_unknown: 1, mean_unknown: 1 })).toBe('1 row with 100 % unknown to the model');
    expect(unknownRows({ with_unknown: 1204, mean_unknown: 0.123 })).toBe(
      '1,204 rows with 12 % unknown to the model',
    );
  });
});

describe('what is in a batch', () => {
  const NONE = { truncated: 0, mean_score: null, with_other_label: 0 };
  const batch = (batchOf: Partial<Pick<Batch, 'labels' | 'errors'>>, rows: Partial<Batch['rows']> = {}) =>
    ({ labels: null, errors: null, ...batchOf, rows: { ...NONE, ...rows } }) as Batch;

  test('is shown with the most frequent label first, and the other labels last', () =>
    expect(countsOf(batch({ labels: { '2': 5, '1': 1, good: 12 } }, { with_other_label: 40 }))).toEqual([
      { label: 'good', rows: 12 },
      { label: '2', rows: 5 },
      { label: '1', rows: 1 },
      { label: 'other labels', rows: 40 },
    ]));

  test('is not shown when it was not counted', () => {
    const unknown = batch({}, { truncated: null, mean_score: null, with_other_label: null });
    expect(countsOf(unknown)).toEqual([]);
    expect(tallyOf(unknown)).toBe('');
    expect(tallyOf(batch({ labels: {}, errors: {} }))).toBe('');
  });

  test('has its errors by code, and the texts that were cut', () => {
    const errors = { invalid_text: 1204, record_too_long: 2 };
    expect(tallyOf(batch({ errors }, { truncated: 1, mean_score: 0.93124 }))).toBe(
      'mean score 0.931 · 1 text cut · errors: 1,204 invalid_text, 2 record_too_long',
    );
  });
});

describe('languages', () => {
  test.each([
    [['en'], 'English'],
    [['en', 'ru'], 'English and Russian'],
    [['en', 'ru', 'de', 'fr'], 'English, Russian, German, and French'],
    [['en', 'ru', 'de', 'fr', 'es'], 'English, Russian, German, and 2 more'],
    [['en', 'qaa'], 'English and qaa'],
  ])('%j: %s', (codes, list) => expect(languageList(codes)).toBe(list));

  const model = (languages: string[] | null, workers: number) =>
    optionText({ name: 'm', languages, workers } as Model);
  test('of a model, in the choice of one', () => {
    expect(model(null, 1)).toBe('m');
    expect(model(['en'], 1)).toBe('m (English)');
    expect(model(['en', 'ru'], 1)).toBe('m (2 languages)');
    expect(model(null, 0)).toBe('m (no worker)');
    expect(model(['en', 'ru'], 0)).toBe('m (2 languages, no worker)');
    // As an API of an earlier version answers.
    expect(optionText({ name: 'm', workers: 1 } as Model)).toBe('m');
    expect([readsText(null), readsText(['en', 'ru'])]).toEqual(['', 'Reads English and Russian.']);
  });
});

describe('examples', () => {
  const languages = ['en', 'ru', 'de', 'es', 'zh', 'ar', 'fr', 'ru', 'en'];
  test.each([
    [null, [0, 8]],
    [['en'], [0, 8]],
    [['ru'], [1, 7]],
    [
      ['ru', 'en', 'de'],
      [0, 1, 2, 7, 8],
    ],
    [languages, [0, 1, 2, 3, 4, 5]],
    [['sw'], []],
  ])('for a model that reads %j', (reads, shown) => expect(examplesFor(languages, reads)).toEqual(shown));
});

describe('colours of labels', () => {
  test.each([
    [
      ['POSITIVE', 'NEGATIVE'],
      ['positive', 'negative'],
    ],
    [
      ['neutral', 'Positive', 'negative'],
      ['neutral', 'positive', 'negative'],
    ],
    [
      ['joy', 'neutral', 'anger'],
      [undefined, undefined, undefined],
    ],
    [
      ['neutral', 'positive'],
      [undefined, undefined],
    ],
    [['LABEL_0'], [undefined]],
    [[], []],
  ])('%j: %j', (labels, tones) => expect(tonesOf(labels)).toEqual(tones));
});
