/** API keys: which key is accepted, and which line of the configuration is read. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkKeyName, KeySet, keyLine, newKey, parseKeyLine } from '../../src/shared/runtime/api-keys.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const HASH = '0123456789abcdef'.repeat(4);

test('a new key has 256 random bits behind its prefix', () => {
  const keys = Array.from({ length: 50 }, newKey);
  for (const key of keys) {
    expect(key).toMatch(/^amk_[\w-]{43}$/);
    expect(Buffer.from(key.slice(4), 'base64url')).toHaveLength(32);
  }
  expect(new Set(keys).size).toBe(keys.length);
});

describe('a set of keys', () => {
  const keys = { alice: newKey(), bob: newKey() };
  const known = new KeySet(Object.entries(keys).map(([name, key]) => parseKeyLine(keyLine(name, key))));

  test('finds each key, wherever it stands', () => {
    expect(known.find(keys.alice)?.name).toBe('alice');
    expect(known.find(keys.bob)?.name).toBe('bob');
    expect(new KeySet([]).find(keys.bob)).toBeUndefined();
  });

  test.each<[string, (key: string) => string]>([
    ['with a character behind it', (key) => `${key}x`],
    ['with a space behind it', (key) => `${key} `],
    ['with a NUL behind it', (key) => `${key}\0`],
    ['twice', (key) => key + key],
    ['without its last character', (key) => key.slice(0, -1)],
    ['without its prefix', (key) => key.slice(4)],
    ['in capitals', (key) => key.toUpperCase()],
    ['as the hash that the configuration has', (key) => keyLine('x', key).slice(2)],
    ['as nothing at all', () => ''],
  ])('refuses a key %s', (_, change) => {
    for (const key of Object.values(keys)) expect(known.find(change(key))).toBeUndefined();
  });

  test('refuses anything but the whole key', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.nat(47), (before, after, cut) => {
        const presented = before + keys.alice.slice(0, cut) + after;
        expect(known.find(presented)?.name).toBe(presented === keys.alice ? 'alice' : undefined);
        const longer = before + keys.alice + after;
        expect(known.find(longer)?.name).toBe(before + after === '' ? 'alice' : undefined);
      }),
      fuzz(100),
    );
  });
});

describe('a line of the configuration', () => {
  test.each([
    [`reviews:${HASH}`, undefined],
    [`reviews:${HASH}:`, undefined],
    [`reviews:${HASH}:1`, 1],
    [`reviews:${HASH}:600`, 600],
    [`reviews:${HASH}:999999999`, 999_999_999],
  ])('%s', (line, perMinute) => {
    expect(parseKeyLine(line)).toEqual({ name: 'reviews', hash: HASH, perMinute });
  });

  test.each([
    ['', 'a key must be name:hash'],
    ['reviews', 'a key must be name:hash'],
    [`reviews:${HASH.slice(1)}`, 'a key must be name:hash'],
    [`reviews:${HASH}0`, 'a key must be name:hash'],
    [`reviews:0${HASH.slice(1).toUpperCase()}`, 'a key must be name:hash'],
    [`reviews:${HASH.slice(1)}g`, 'a key must be name:hash'],
    [`reviews:${HASH}:0`, 'a key must be name:hash'],
    [`reviews:${HASH}:-1`, 'a key must be name:hash'],
    [`reviews:${HASH}:1.5`, 'a key must be name:hash'],
    [`reviews:${HASH}:1e3`, 'a key must be name:hash'],
    [`reviews:${HASH}:60 `, 'a key must be name:hash'],
    [`reviews:${HASH}:x6`, 'a key must be name:hash'],
    [`reviews:${HASH}:6x`, 'a key must be name:hash'],
    [`reviews:${HASH}:1000000000`, 'a key must be name:hash'],
    [`reviews:${HASH}:60:60`, 'a key must be name:hash'],
    [`:${HASH}`, '"" cannot be the name of a key: it must be 1 to 63 ASCII letters'],
    [`a b:${HASH}`, '"a b" cannot be the name of a key: it must be 1 to 63 ASCII letters'],
    [`everybody:${HASH}`, 'everybody cannot be the name of a key'],
  ])('%s is refused', (line, message) => expect(() => parseKeyLine(line)).toThrow(message));

  test('is not repeated by the error: it may be a key', () => {
    const key = newKey();
    expect(() => parseKeyLine(key)).toThrow(expect.not.stringContaining(key.slice(4)));
  });

  test('of a key is its name and the SHA-256 of it', () => {
    expect(keyLine('a', 'abc')).toBe('a:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

test('a name is that of a model or a caller, but not that of callers without a key', () => {
  expect(() => checkKeyName('reviews-2.eu')).not.toThrow();
  expect(() => checkKeyName('a/b')).toThrow('"a/b" cannot be the name of a key: it must be');
  expect(() => checkKeyName('everybody')).toThrow('everybody cannot be the name of a key');
});

test('two keys may share a name, but not their hash', () => {
  const key = (name: string, first: number) => ({
    name,
    hash: String(first).repeat(64),
    perMinute: undefined,
  });
  expect(() => new KeySet([key('a', 1), key('a', 2), key('b', 3)])).not.toThrow();
  expect(() => new KeySet([key('a', 1), key('b', 1)])).toThrow('the same key is listed twice');
  expect(() => new KeySet([])).not.toThrow();
});
