/** When texts are encoded, and how one that is too long is cut; what tokens they become, tokenizer-parity.test.ts says. */
import { rmSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { tokenizerFolder } from '../support/models/tokenizer-goldens.ts';

const FOLDER = 'models/sst2-minilm';
const MAX_TOKENS = 8;
/** Special tokens around a text. */
const [CLS, SEP] = [101, 102];
const observed: number[] = [];
const tokenizer = new TextTokenizer(FOLDER, MAX_TOKENS, { observe: (ms) => observed.push(ms) });

afterEach(() => vi.restoreAllMocks());

describe('texts that wait', () => {
  test('are encoded in order, background texts behind all others', async () => {
    const order: string[] = [];
    const encode = (text: string, background: boolean) =>
      (background ? tokenizer.encodeInBackground(text) : tokenizer.encode(text)).then(() => order.push(text));
    await Promise.all([
      encode('archive 1', true),
      encode('job 1', false),
      encode('archive 2', true),
      encode('job 2', false),
    ]);
    expect(order).toEqual(['job 1', 'job 2', 'archive 1', 'archive 2']);
  });

  test('keep order and results however many there are', async () => {
    const words = ['good', 'bad', 'fine', 'poor'];
    const texts = Array.from({ length: 5000 }, (_, i) => `${words[i % 4]} ${i}`);
    const order: number[] = [];
    const encoded = await Promise.all(
      texts.map((text, i) =>
        (i % 2 === 0 ? tokenizer.encodeInBackground(text) : tokenizer.encode(text)).then((result) => {
          order.push(i);
          return result;
        }),
      ),
    );
    const indices = texts.map((_, i) => i);
    const byClass = (odd: number) => order.filter((i) => i % 2 === odd);
    for (const odd of [0, 1]) expect(byClass(odd)).toEqual(indices.filter((i) => i % 2 === odd));
    for (const i of [0, 1023, 1024, 1025, 2048, 4999])
      expect(encoded[i]).toEqual(tokenizer.encodeNow(texts[i]!, 'right'));
  });

  test('yield the event loop every few milliseconds', async () => {
    observed.length = 0;
    let clock = 0;
    // A text takes a millisecond.
    vi.spyOn(performance, 'now').mockImplementation(() => clock++);
    let turns = 0;
    let ended = false;
    const count = () => {
      turns++;
      if (!ended) setImmediate(count);
    };
    setImmediate(count);
    await Promise.all(Array.from({ length: 40 }, () => tokenizer.encode('good')));
    ended = true;
    expect(turns).toBeGreaterThanOrEqual(8);
    expect(observed).toEqual(Array.from({ length: 40 }, () => 1));
  });
});

describe('a text of more tokens than the model reads', () => {
  const long = 'one two three four five six seven eight nine';
  const whole = new TextTokenizer(FOLDER, 512);
  const own = (text: string) => [...whole.encodeNow(text).ids].slice(1, -1);

  test.each([
    ['right', 'one two three four five six'],
    ['left', 'four five six seven eight nine'],
  ] as const)('is cut on the %s, between its special tokens', (side, kept) => {
    const encoded = tokenizer.encodeNow(long, side);
    expect([...encoded.ids]).toEqual([CLS, ...own(kept), SEP]);
    expect(encoded).toMatchObject({ truncated: true, own: 6, unknown: 0, blank: 0 });
  });

  test.each(['right', 'left'] as const)('is not truncated on the %s when it just fits', (side) => {
    const encoded = tokenizer.encodeNow('one two three four five six', side);
    expect([...encoded.ids]).toEqual([CLS, ...own('one two three four five six'), SEP]);
    expect(encoded.truncated).toBe(false);
  });

  test('is truncated on the right by default', async () => {
    expect(await tokenizer.encode(long)).toEqual(tokenizer.encodeNow(long, 'right'));
  });
});

test('unknown tokens are counted, without those cut off', () => {
  const unknown = 'ጀ';
  expect(tokenizer.encodeNow(`a ${unknown} b ${unknown}`)).toMatchObject({ own: 4, unknown: 2 });
  expect(tokenizer.encodeNow(`a b c d e ${unknown} ${unknown} ${unknown}`)).toMatchObject({
    own: 6,
    unknown: 1,
  });
  expect(tokenizer.encodeNow(`${unknown} a b c d e f`, 'left')).toMatchObject({ own: 6, unknown: 0 });
});

test('tokens of white space alone are counted as blank', () => {
  const folder = tokenizerFolder({
    model: { type: 'WordLevel', vocab: { '[UNK]': 0, '▁': 1, '▁a': 2, '▁b': 3 }, unk_token: '[UNK]' },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
  });
  try {
    const metaspace = new TextTokenizer(folder, 10);
    expect([...metaspace.encodeNow('a   b c').ids]).toEqual([2, 1, 1, 3, 0]);
    expect(metaspace.encodeNow('a   b c')).toMatchObject({ own: 5, blank: 2, unknown: 1 });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a model without room for a text is rejected', () => {
  expect(() => new TextTokenizer(FOLDER, 2)).toThrow('there is no room for the text');
  expect(new TextTokenizer(FOLDER, 3).encodeNow('good film').ids).toHaveLength(3);
});

test('a folder without tokenizer.json is rejected', () => {
  expect(() => new TextTokenizer('test/fixtures', 8)).toThrow(/tokenizer\.json cannot be read: ENOENT/);
});
