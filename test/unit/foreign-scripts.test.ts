/** Which tokens count as written in a script that a model does not read, and the share of a text that they make. */
import { describe, expect, test } from 'vitest';
import {
  CONTINUES,
  FOREIGN,
  foreignTokens,
  READ,
  scriptsOf,
} from '../../src/worker/inference/foreign-scripts.ts';
import { unknownShare, unreadableReason } from '../../src/worker/inference/readability.ts';
import { TextTokenizer } from '../../src/worker/inference/tokenizer.ts';
import { toByteCharacters } from '../../src/worker/inference/tokenizer/byte-level.ts';

describe('the scripts of a language', () => {
  test.each([
    ['en', ['Latn']],
    ['ru', ['Cyrl']],
    ['uk', ['Cyrl']],
    ['ar', ['Arab']],
    ['ur', ['Arab']],
    ['hi', ['Deva']],
    ['zh', ['Hani']],
    ['yue', ['Hani']],
    ['ja', ['Hani', 'Hira', 'Kana']],
    ['ko', ['Hang']],
    ['el', ['Grek']],
    ['und', undefined],
    ['mul', undefined],
    ['xx', undefined],
  ])('%s: %j', (language, scripts) => expect(scriptsOf(language)).toEqual(scripts));
});

/** What becomes of tokens of a word vocabulary. */
function kindsOf(tokens: readonly string[], languages: readonly string[]): number[] | undefined {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const found = foreignTokens({ model: { type: 'WordPiece', vocab } }, languages);
  return found && [...found];
}

describe('a token', () => {
  test.each([
    // Words, pieces of words, and SentencePiece's mark.
    ['film', 'en', READ],
    ['##é', 'en', READ],
    ['привет', 'en', FOREIGN],
    ['##ивет', 'en', FOREIGN],
    ['▁привет', 'en', FOREIGN],
    ['привет', 'ru', READ],
    ['привет', 'uk', READ],
    ['مرحبا', 'ru', FOREIGN],
    ['مرحبا', 'ar', READ],
    // A vowel sign without its letter.
    ['##ा', 'en', FOREIGN],
    ['##ा', 'hi', READ],
    ['你好', 'en', FOREIGN],
    ['你好', 'zh', READ],
    ['你好', 'ja', READ],
    ['你好', 'ko', FOREIGN],
    ['ありがとう', 'ja', READ],
    ['カメラ', 'ja', READ],
    ['ありがとう', 'zh', FOREIGN],
    ['안녕', 'ko', READ],
    ['안녕', 'ja', FOREIGN],
    // Latin is read by every model.
    ['iPhone', 'ru', READ],
    ['ｉＰｈｏｎｅ', 'ru', READ],
    // Of no script.
    ['2026', 'ru', READ],
    ['٣', 'ru', READ],
    ['…', 'ru', READ],
    ['。', 'en', READ],
    ['😀', 'en', READ],
    ['👍🏽', 'ru', READ],
    ['\u0301', 'ru', READ],
    ['\ue000', 'en', READ],
    ['▁', 'en', READ],
    // Of both.
    ['iPhone的', 'en', READ],
  ])('%s, to a model of %s: %d', (token, language, kind) =>
    expect(kindsOf([token], [language])).toEqual([kind]),
  );

  test('is read when any of the languages has its script', () => {
    expect(kindsOf(['привет', '你好', 'สวัสดี'], ['en', 'ru', 'zh'])).toEqual([READ, READ, FOREIGN]);
  });

  test('is not judged when the script of one language is not known', () => {
    expect(kindsOf(['привет'], ['en', 'xx'])).toBeUndefined();
  });

  test('is judged in a list of tokens with scores, too', () => {
    const vocab = [
      ['<unk>', 0],
      ['▁film', -3],
      ['▁фильм', -4],
    ];
    expect([...foreignTokens({ model: { type: 'Unigram', vocab } }, ['en'])!]).toEqual([READ, READ, FOREIGN]);
  });

  test('with an enormous id takes no memory', () => {
    const found = foreignTokens({ model: { vocab: { фильм: 2 ** 31 - 1, film: 0 } } }, ['en'])!;
    expect(found.length).toBeLessThan(2 ** 23);
  });
});

describe('a token of bytes', () => {
  /** Kinds of the tokens when a byte-level vocabulary splits the UTF-8 of a text every `size` bytes. */
  function kindsOfBytes(text: string, language: string, size: number): number[] {
    const bytes = toByteCharacters(text);
    const pieces = bytes.match(new RegExp(`.{1,${size}}`, 'gsu')) ?? [];
    const vocab = Object.fromEntries(pieces.map((token, id) => [token, id]));
    const found = foreignTokens({ pre_tokenizer: { type: 'ByteLevel' }, model: { vocab } }, [language])!;
    return pieces.map((token) => found[vocab[token]!]!);
  }

  test.each([
    ['добро', 'en', 2, [FOREIGN, FOREIGN, FOREIGN, FOREIGN, FOREIGN]],
    ['добро', 'ru', 2, [READ, READ, READ, READ, READ]],
    ['до', 'en', 1, [FOREIGN, CONTINUES, FOREIGN, CONTINUES]],
    // The first bytes of a character say enough.
    ['добро', 'en', 3, [FOREIGN, FOREIGN, FOREIGN, CONTINUES]],
    ['नम', 'en', 2, [FOREIGN, FOREIGN, CONTINUES]],
    ['नम', 'hi', 2, [READ, READ, CONTINUES]],
    ['é', 'ru', 1, [READ, CONTINUES]],
    ['😀', 'en', 1, [READ, CONTINUES, CONTINUES, CONTINUES]],
    ['😀', 'en', 2, [READ, CONTINUES]],
    ['film', 'ru', 2, [READ, READ]],
    ['“', 'ru', 1, [READ, CONTINUES, CONTINUES]],
  ])('%s, to a model of %s, %d bytes a token: %j', (text, language, size, kinds) =>
    expect(kindsOfBytes(text, language, size)).toEqual(kinds),
  );

  test('with byte fallback', () => {
    const vocab = [['▁film'], ['<0xD0>'], ['<0xBF>'], ['<0x41>'], ['<0xC3>']];
    const found = foreignTokens({ model: { type: 'Unigram', byte_fallback: true, vocab } }, ['en'])!;
    expect([...found]).toEqual([READ, FOREIGN, CONTINUES, READ, READ]);
  });

  test('in a sequence of pre-tokenizers, or in the normaliser', () => {
    const vocab = { [toByteCharacters('до')]: 0 };
    const part = { type: 'ByteLevel' };
    for (const definition of [
      { pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits' }, part] } },
      { normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, part] } },
    ])
      expect([...foreignTokens({ ...definition, model: { vocab } }, ['en'])!]).toEqual([FOREIGN]);
  });
});

describe('the share of a text', () => {
  const tokenizer = new TextTokenizer('models/sst2-minilm', 32, { languages: ['en'] });
  const share = (text: string, by = tokenizer) => unknownShare(by.encodeNow(text));

  test.each([
    ['a joy from start to finish', 0],
    ['café, naïve, señor: 100 % übercool', 0],
    ['“a joy” – 5/5 €', 0],
    ['Это отличный результат!', 0.9524],
    ['Это отличный результат', 1],
    ['كان الفندق سيئا', 1],
    ['добрый 2026', 0.75],
    // Emoji are unknown tokens, Chinese and Thai mostly so.
    ['what a joy 😀', 0.25],
    ['糟糕的酒店', 1],
    ['привет 😀', 1],
    ['', 1],
  ])('%j: %d', (text, expected) => expect(share(text)).toBe(expected));

  test('is that of the unknown tokens alone when the languages are not known', () => {
    const silent = new TextTokenizer('models/sst2-minilm', 32);
    expect(share('Это отличный результат', silent)).toBe(0);
    expect(share('糟糕的酒店', silent)).toBe(0.8);
  });

  test('counts what the model reads of a long text, on the side that is kept', () => {
    const text = `${'good '.repeat(40)}${'добро '.repeat(40)}`;
    expect(unknownShare(tokenizer.encodeNow(text, 'right'))).toBe(0);
    expect(unknownShare(tokenizer.encodeNow(text, 'left'))).toBe(1);
  });

  test.each(['roberta', 'xlm-roberta', 'bert-uncased', 'distilbert-cased'])(
    'of a Russian text is 1 to an English %s, and 0 to a Russian one or where its letters are unknown tokens',
    (family) => {
      const open = (languages: string[]) =>
        new TextTokenizer(`test/fixtures/models/${family}`, 64, { languages });
      const unknown = unknownShare({ ...open(['ru']).encodeNow('добро'), foreign: 0 });
      expect(share('добро', open(['ru']))).toBe(unknown);
      expect(share('добро', open(['en']))).toBe(1);
      expect(share('good', open(['ru']))).toBe(share('good', open(['en'])));
    },
  );

  test('is no reason to refuse a text', () => {
    const text = 'Это отличный результат';
    expect(unreadableReason(text, tokenizer.encodeNow(text))).toBeUndefined();
  });
});
