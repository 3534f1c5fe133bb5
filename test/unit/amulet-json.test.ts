/** amulet.json of a model folder: read, refused by name, and part of the revision only where it is there. */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { readAmuletJson } from '../../src/worker/inference/amulet-json.ts';
import { readModelFolder } from '../../src/worker/inference/model-folder.ts';

const TINY = 'test/fixtures/models/bert-uncased';
let folder: string;
const at = (name: string) => path.join(folder, name);

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
});

describe('is refused', () => {
  test.each([
    ['{"unreadable_texts": "error"}', '"unreadable_texts" is not a setting; known: unreadable_text'],
    ['{"unreadable_text": "drop"}', 'unreadable_text must be one of error, classify'],
    ['{"unreadable_text": null}', 'unreadable_text must be one of error, classify'],
    [
      '{"unreadable_text": true, "x": 1}',
      'unreadable_text must be one of error, classify; "x" is not a setting',
    ],
    ['[]', 'it must be a JSON object'],
    ['null', 'it must be a JSON object'],
    ['"classify"', 'it must be a JSON object'],
    ['', 'it is not valid JSON'],
    ['{unreadable_text: "classify"}', 'it is not valid JSON'],
    [' '.repeat(64 * 1024 + 1), 'it has 65537 bytes; at most 65536 are allowed'],
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
    const sha256 = '4e4f11c4b0f6dc7ee1b26bd1bd9fb3a4b4fbd2e8e5a2ec6a7e2b7f3a2f1e3c55';
    named({ 'amulet.json': { sha256 } });
    expect(revision).toThrow('is damaged');
  });

  test('of the shipped models is the one in their manifests', () => {
    for (const name of ['sst2-minilm', 'goemotions-minilm']) {
      const manifest = JSON.parse(fs.readFileSync(`models/${name}/manifest.json`, 'utf8')) as {
        revision: string;
      };
      expect(readModelFolder(`models/${name}`, undefined).revision).toBe(manifest.revision);
    }
  });
});
