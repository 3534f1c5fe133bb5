/** Texts of any length, also ones made to be costly: the same tokens in steps, no more steps than are needed, and none that is long. */
import { describe, expect, test } from 'vitest';
import { Encoder } from '../../src/worker/inference/tokenizer/encoder.ts';
import { orderLongRuns } from '../../src/worker/inference/tokenizer/canonical-order.ts';
import { createNormalizers, STARTER } from '../../src/worker/inference/tokenizer/normalizers.ts';
import { JOINING } from '../../src/worker/inference/tokenizer/precompiled.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { HOSTILE_TEXTS } from '../support/inputs/hostile-texts.ts';
import { tokenizerGoldens } from '../support/models/tokenizer-goldens.ts';

/** Beyond what is encoded without steps. */
const CHARACTERS = 5000;
const hostile = Object.entries(HOSTILE_TEXTS).map(([kind, make]) => ({ kind, text: make(CHARACTERS) }));
const families = tokenizerGoldens.tokenizers.filter(({ name }) => /^as saved|^model (?!.* alone)/.test(name));

const open = (name: string) =>
  new Encoder(tokenizerGoldens.tokenizers.find((each) => each.name === name)!.definition);

/** @returns the ids, and how many steps they took */
function encode(encoder: Encoder, text: string, limit: number): { ids: number[]; steps: number } {
  const all = encoder.encodeInSteps(text, limit);
  let step = all.next();
  let steps = 1;
  for (; step.done !== true; steps++) step = all.next();
  return { ids: step.value, steps };
}

test.each(families)('$name: the first tokens do not depend on where encoding stops', ({ definition }) => {
  const encoder = new Encoder(definition);
  for (const { kind, text } of hostile) {
    const { ids: all } = encode(encoder, text, Infinity);
    for (const limit of [1, 126, 510]) {
      const { ids } = encode(encoder, text, limit);
      expect(ids.slice(0, limit), `${kind}, ${limit}`).toEqual(all.slice(0, limit));
      expect(ids.length > limit, `${kind}, ${limit}`).toBe(all.length > limit);
    }
  }
});

describe('a text of 100,000 characters takes only the steps that its first tokens need', () => {
  test.each([
    ['as saved: BERT', 'prose'],
    ['as saved: RoBERTa', 'prose'],
    ['as saved: RoBERTa', 'spaces and letters'],
    ['as saved: Llama 2, Mistral', 'prose'],
    ['as saved: XLM-R', 'prose'],
    ['as saved: XLM-R', 'emoji and letters'],
    ['as saved: ALBERT', 'Hangul syllables'],
  ])('%s: %s', (name, kind) => {
    const encoder = open(name);
    const steps = (characters: number, limit: number) =>
      encode(encoder, HOSTILE_TEXTS[kind]!(characters), limit).steps;
    const normalising = steps(100_000, 0);
    expect(steps(100_000, 510) - normalising).toBeLessThan(steps(100_000, Infinity) / 4);
  });
});

describe('combining marks', () => {
  const marks = Array.from({ length: 0x20000 }, (_, code) => code)
    .filter((code) => code < 0xd800 || code > 0xdfff)
    .map((code) => String.fromCodePoint(code))
    .filter((character) => /[\p{M}\uFF9E\uFF9F]/u.test(character));

  test('in long runs are sorted into canonical order', () => {
    let state = 7;
    const random = (below: number) => (state = (state * 48_271) % 2_147_483_647) % below;
    for (const form of ['NFD', 'NFKD'] as const) {
      const all = `a${marks.map((_, i) => marks[(i * 389) % marks.length]).join('')}`;
      expect(orderLongRuns(all, form).normalize(form)).toBe(all.normalize(form));
      for (let i = 0; i < 20; i++) {
        const text = `ṩ${Array.from({ length: 1500 }, () => marks[random(marks.length)]).join('')}z`;
        expect(orderLongRuns(text, form).normalize(form)).toBe(text.normalize(form));
      }
    }
  });

  test('take time linear in their number', () => {
    const [nfc] = createNormalizers({ type: 'NFC' });
    const time = (characters: number) => {
      const text = HOSTILE_TEXTS['marks of many classes']!(characters);
      const runs = Array.from({ length: 5 }, () => {
        const start = process.cpuUsage();
        nfc!.normalize(text);
        return process.cpuUsage(start).user;
      });
      return Math.min(...runs);
    };
    time(20_000);
    // Sixteen times as many took 256 times as long. Fewer take so little time that a tick of the clock is much of it.
    expect(time(320_000) / time(20_000)).toBeLessThan(64);
  });
});

test('every character that may share a short cluster with another is looked up together with it', () => {
  const segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' });
  const isOne = (text: string) => [...segmenter.segment(text)].length === 1;
  const missing: string[] = [];
  for (let code = 1; code < 0x110000; code++) {
    const character = code >= 0xd800 && code < 0xe000 ? ' ' : String.fromCodePoint(code);
    if (JOINING.test(character) || /[\p{Script=Han}\p{Script=Hangul}\p{Cn}\p{Co}]/u.test(character)) continue;
    if (isOne(`a${character}`) || isOne(`${character}a`)) missing.push(code.toString(16));
  }
  expect(missing).toEqual([]);
});

test('a text is only cut before characters that do not join the one before', () => {
  const starts = new RegExp(`^${STARTER.source}`, 'u');
  const wrong = new Set<string>();
  for (let code = 0x80; code < 0x110000; code++) {
    const character = code >= 0xd800 && code < 0xe000 ? ' ' : String.fromCodePoint(code);
    const [first = '', ...joined] = Array.from(character.normalize('NFD'));
    // What a character consists of, beside the first, joins what is before it; so does what begins with a mark.
    for (const each of joined) if (starts.test(each)) wrong.add(each);
    const compatible = Array.from(character.normalize('NFKD'))[0] ?? '';
    if (starts.test(character) && !(starts.test(first) && starts.test(compatible))) wrong.add(character);
  }
  expect([...wrong]).toEqual([]);
});

describe('the event loop', () => {
  test('turns while a long text is encoded, and short texts overtake it', async () => {
    const tokenizer = new TextTokenizer('models/sst2-minilm', 512);
    const order: string[] = [];
    const note = (name: string) => () => void order.push(name);
    let turns = 0;
    const long = tokenizer.encode(HOSTILE_TEXTS.Chinese!(100_000), 'left').then(note('long'));
    const count = () => {
      turns++;
      if (!order.includes('long')) setImmediate(count);
    };
    setImmediate(count);
    const archive = tokenizer.encodeInBackground('archive', 'right').then(note('archive'));
    await tokenizer.encode('short').then(note('short'));
    expect(order).toEqual(['short']);
    await Promise.all([long, archive]);
    expect(order).toEqual(['short', 'long', 'archive']);
    expect(turns).toBeGreaterThan(2);
  });

  test('works on one long text at a time, in order, with the same tokens', async () => {
    const tokenizer = new TextTokenizer('models/sst2-minilm', 512);
    const texts = ['prose', 'Chinese', 'punctuation', 'emoji'].map((kind) => HOSTILE_TEXTS[kind]!(20_000));
    const order: number[] = [];
    const encoded = await Promise.all(
      texts.map(async (text, i) => {
        const result = await tokenizer.encode(text, 'left');
        order.push(i);
        return result;
      }),
    );
    expect(order).toEqual([0, 1, 2, 3]);
    expect(encoded).toEqual(texts.map((text) => tokenizer.encodeNow(text, 'left')));
  });
});
