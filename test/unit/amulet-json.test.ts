/** amulet.json of a model folder: read, refused by name, and part of the revision only where it is there. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { readAmuletJson, requireFit } from '../../src/worker/inference/amulet-json.ts';
import { readModelFolder } from '../../src/worker/inference/model-folder.ts';

const TINY = 'test/fixtures/models/bert-uncased';
let folder: string;
const at = (name: string) => path.join(folder, name);
/** Codes of two letters, aa to zz. */
const everyCode = (count: number) =>
  Array.from({ length: count }, (_, i) => String.fromCharCode(97 + Math.floor(i / 26), 97 + (i % 26)));
/** The reason why an entry of `languages` is refused. */
const NO_CODE = 'must be a language code of two or three small letters, such as "en"';

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-json-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

describe('is read', () => {
  test('no such file', () => expect(readAmuletJson(folder)).toEqual({ unreadable_text: 'error' }));

  test.each([
    ['{}', 'error'],
    ['{"unreadable_text": "error"}', 'error'],
    ['{"unreadable_text": "classify"}\n', 'classify'],
    ['\ufeff{"unreadable_text": "classify"}', 'classify'],
  ])('%j', (content, expected) => {
    fs.writeFileSync(at('amulet.json'), content);
    expect(readAmuletJson(folder)).toEqual({ unreadable_text: expected });
  });

  test.each([[['en']], [['ru', 'en', 'fil']], [everyCode(256)]])('languages %.40j', (languages) => {
    fs.writeFileSync(at('amulet.json'), JSON.stringify({ languages }));
    expect(readAmuletJson(folder)).toEqual({ unreadable_text: 'error', languages });
  });
});

describe('is refused', () => {
  test.each([
    [
      '{"unreadable_texts": "error"}',
      '"unreadable_texts" is not a setting; known: unreadable_text, languages, task, temperature, thresholds',
    ],
    ['{"unreadable_text": "drop"}', 'unreadable_text must be one of error, classify'],
    ['{"unreadable_text": null}', 'unreadable_text must be one of error, classify'],
    [
      '{"unreadable_text": true, "x": 1}',
      'unreadable_text must be one of error, classify; "x" is not a setting',
    ],
    ['{"languages": "en"}', 'languages: '],
    ['{"languages": null}', 'languages: '],
    ['{"languages": []}', 'languages: must name at least one language, or be left out'],
    ['{"languages": ["en", "ru", "en"]}', 'languages: must name each language once'],
    [JSON.stringify({ languages: everyCode(257) }), 'languages: must name at most 256 languages'],
    ['{"languages": ["en", "English"]}', `languages.1: ${NO_CODE}`],
    ['{"languages": ["EN"]}', `languages.0: ${NO_CODE}`],
    ['{"languages": ["en-US"]}', `languages.0: ${NO_CODE}`],
    ['{"languages": ["e"]}', `languages.0: ${NO_CODE}`],
    ['{"languages": ["en\\n"]}', `languages.0: ${NO_CODE}`],
    ['{"languages": [7]}', 'languages.0: '],
    ['[]', 'it must be a JSON object'],
    ['null', 'it must be a JSON object'],
    ['"classify"', 'it must be a JSON object'],
    ['', 'it is not valid JSON'],
    ['{unreadable_text: "classify"}', 'it is not valid JSON'],
    [
      '{"task": "translation"}',
      'task must be one of text-classification, zero-shot-classification, text-ranking',
    ],
    ['{"temperature": 0}', 'temperature: '],
    ['{"temperature": -2}', 'temperature: '],
    ['{"temperature": 1e9}', 'temperature: '],
    ['{"temperature": "2"}', 'temperature: '],
    ['{"temperature": NaN}', 'it is not valid JSON'],
    ['{"thresholds": 0.5}', 'thresholds: '],
    ['{"thresholds": {"joy": "0.5"}}', 'thresholds.joy: '],
    ['{"thresholds": {"joy": 1e999}}', 'thresholds.joy: '],
    [' '.repeat(1024 * 1024 + 1), 'it has 1048577 bytes; at most 1048576 are allowed'],
  ])('%.40j', (content, message) => {
    fs.writeFileSync(at('amulet.json'), content);
    expect(() => readAmuletJson(folder)).toThrow(StartupError);
    expect(() => readAmuletJson(folder)).toThrow(`${at('amulet.json')} cannot be used: ${message}`);
    expect(() => readAmuletJson(folder)).not.toThrow(/\n/);
  });

  test('a folder of that name', () => {
    fs.mkdirSync(at('amulet.json'));
    expect(() => readAmuletJson(folder)).toThrow('it is not a regular file');
  });
});

describe('and the revision', () => {
  const revision = () => readModelFolder(folder, undefined).revision;
  const write = (value: object) => fs.writeFileSync(at('amulet.json'), JSON.stringify(value));

  test('depends on the content of the file, and is unchanged without it', () => {
    fs.cpSync(TINY, folder, { recursive: true });
    const without = readModelFolder(TINY, undefined).revision;
    expect(revision()).toBe(without);
    write({ unreadable_text: 'classify' });
    const lenient = revision();
    write({ unreadable_text: 'error' });
    expect(new Set([without, lenient, revision()]).size).toBe(3);
    expect(readModelFolder(folder, undefined).amulet).toEqual({ unreadable_text: 'error' });
    fs.rmSync(at('amulet.json'));
    expect(revision()).toBe(without);
  });

  test('of a manifest has the settings appended, unless the manifest lists them', () => {
    fs.cpSync(TINY, folder, { recursive: true });
    const named = (files: object, name = 'v1') =>
      fs.writeFileSync(at('manifest.json'), JSON.stringify({ revision: name, files }));
    named({});
    expect(revision()).toBe('v1');
    write({ unreadable_text: 'classify' });
    expect(revision()).toMatch(/^v1-[0-9a-f]{12}$/);
    named({}, 'v'.repeat(64));
    expect(revision()).toMatch(/^v{51}-[0-9a-f]{12}$/);
  });

  test('of a manifest that lists the settings is the one there until they are changed or removed', () => {
    fs.cpSync(TINY, folder, { recursive: true });
    const content = '{"languages": ["en"]}';
    const sha256 = createHash('sha256').update(content).digest('hex');
    const files = { 'amulet.json': { sha256 } };
    fs.writeFileSync(at('manifest.json'), JSON.stringify({ revision: 'v1', files }));
    fs.writeFileSync(at('amulet.json'), content);
    expect(revision()).toBe('v1');
    write({ languages: ['en', 'ru'] });
    const changed = revision();
    fs.rmSync(at('amulet.json'));
    const removed = revision();
    expect([changed, removed]).toEqual(Array(2).fill(expect.stringMatching(/^v1-[0-9a-f]{12}$/)));
    expect(changed).not.toBe(removed);
    // As of a manifest that does not list them: the settings that an operator had put there before keep their revision.
    write({ unreadable_text: 'classify' });
    const own = revision();
    fs.writeFileSync(at('manifest.json'), JSON.stringify({ revision: 'v1', files: {} }));
    expect(revision()).toBe(own);
  });

  test('of the shipped models is the one in their manifests', () => {
    for (const name of ['sentiment-multilingual', 'sst2-minilm', 'goemotions-minilm']) {
      const manifest = JSON.parse(fs.readFileSync(`models/${name}/manifest.json`, 'utf8')) as {
        revision: string;
      };
      expect(readModelFolder(`models/${name}`, undefined).revision).toBe(manifest.revision);
    }
  });
});

describe('settings that depend on the model', () => {
  const model = { labels: ['joy', 'anger'], apply: 'sigmoid' as const };
  const settings = (json: string) => {
    fs.writeFileSync(at('amulet.json'), json);
    return readAmuletJson(folder);
  };

  test.each([
    ['{"thresholds": {"joy": 0.3, "rage": 0.5}}', 'thresholds name "rage", which is no label of the model'],
    ['{"thresholds": {"joy": 0.3}}', 'thresholds have none for the label "anger"'],
    [
      '{"thresholds": {"joy": 30, "anger": 0.5}}',
      'thresholds have 30 for "joy", which is not within 0 and 1',
    ],
  ])('%s is refused', (json, message) => {
    expect(() => requireFit(folder, settings(json), model)).toThrow(
      new StartupError(`${at('amulet.json')} cannot be used: ${message}`),
    );
  });

  test('thresholds of all labels, and a temperature, fit', () => {
    requireFit(folder, settings('{"temperature": 1.5, "thresholds": {"joy": 0, "anger": 1}}'), model);
  });

  test('a regression may have any threshold, but no temperature', () => {
    const regression = { labels: ['stars'], apply: 'none' as const };
    requireFit(folder, settings('{"thresholds": {"stars": 3.5}}'), regression);
    expect(() => requireFit(folder, settings('{"temperature": 2}'), regression)).toThrow(
      'temperature is for softmax or sigmoid, but the model is a regression',
    );
  });
});
