/** Valid texts that cost a tokenizer more than ordinary texts of their length. */

/** By kind: makes a text of the given number of code points. */
export const HOSTILE_TEXTS: Readonly<Record<string, (characters: number) => string>> = {
  prose: repeated('the film is long and dull but the ending is wonderful. '),
  flags: repeated('🇩🇪'),
  'ZWJ families': repeated('👨‍👩‍👧‍👦'),
  keycaps: repeated('1️⃣'),
  emoji: repeated('😀😡🎉'),
  'emoji and letters': repeated('😀a😡b'),
  'Hangul syllables': (characters) => sequence(characters, (i) => 0xac00 + ((i * 7919) % 11_172)),
  'Hangul jamo': repeated('\u1112\u1161\u11ab'),
  'marks on one letter': (characters) => `a${'\u0301'.repeat(characters - 1)}`,
  'marks out of order': (characters) => `a${repeated('\u0301\u0323')(characters - 1)}`,
  'marks of many classes': (characters) =>
    `a${repeated('\u0301\u0323\u0334\u093c\u3099\u094d\u05b0\u05b1\u0345\u1dce')(characters - 1)}`,
  'letters with marks': repeated('q\u0307\u0323'),
  'marks that compose': repeated('a\u0323\u0302'),
  'one word': repeated('abcdefghijklmnopqrstuvwxyz'),
  'one letter': repeated('a'),
  'long words': repeated(`${'a'.repeat(99)} `),
  capitals: repeated('Σ'),
  Thai: repeated('สวัสดีชาวโลก'),
  Chinese: (characters) => sequence(characters, (i) => 0x4e00 + ((i * 7919) % 20_000)),
  'Chinese, one character': repeated('好'),
  'unknown characters': (characters) => sequence(characters, (i) => 0x12000 + ((i * 31) % 900)),
  'private characters': repeated('\ue000'),
  'alternating scripts': repeated('aяあΩ한ש'),
  'one space': (characters) => `a${' '.repeat(characters - 1)}`,
  'spaces and letters': repeated('a '),
  'white space of many kinds': repeated('a\u00a0\u3000\t\n\u2003\u0085 '),
  'line ends': (characters) => `a${'\n'.repeat(characters - 1)}`,
  'full stops': repeated('.'),
  punctuation: repeated('!?-…"'),
  digits: repeated('0123456789'),
  apostrophes: repeated("'s'"),
  ligatures: repeated('\ufdfa'),
  'full width': repeated('ＦＵＬＬ ｗ'),
  'half-width kana': repeated('ｶﾞﾊﾟ'),
  'word starts': repeated('▁'),
  'added tokens': repeated('<mask>'),
  'starts of added tokens': repeated('<mas'),
  'special tokens': repeated('[SEP]'),
  'added tokens and spaces': repeated('<mask>   '),
  'zero-width joiners': (characters) => `a${'\u200d'.repeat(characters - 1)}`,
  'prepended marks': repeated('\u0600'),
  'Indic conjuncts': repeated('\u0915\u094d'),
  'variation selectors': (characters) => `☺${'\ufe0f'.repeat(characters - 1)}`,
  'newer than Python': repeated('a\u1acf'),
  controls: repeated('\u0001\u200b'),
  random: (characters) => {
    let state = 20_240_229;
    return sequence(characters, () => {
      state = (state * 48_271) % 2_147_483_647;
      const code = 1 + (state % 0x10_fffe);
      return code >= 0xd800 && code < 0xe000 ? 0x20 : code;
    });
  },
};

function repeated(unit: string): (characters: number) => string {
  const all = Array.from(unit);
  return (characters) =>
    unit.repeat(Math.floor(characters / all.length)) + all.slice(0, characters % all.length).join('');
}

function sequence(characters: number, codePointAt: (index: number) => number): string {
  return Array.from({ length: characters }, (_, i) => String.fromCodePoint(codePointAt(i))).join('');
}
