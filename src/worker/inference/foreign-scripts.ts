/**
 * Finds the tokens of a vocabulary in scripts that none of a model's languages is written in. A vocabulary often has the letters of
 * languages that the model never learnt: they are no unknown tokens, and yet the model cannot read them.
 *
 * Each token is judged once, when the tokenizer is loaded: a text then costs one look-up a token, 0.1 µs
 * for a sentence of a review whose tokens cost 6 µs, and the share has the same unit as that of the unknown tokens. A regular expression
 * over each text would count letters, also those that are cut off. Judging a vocabulary of 64,000 tokens takes 33 ms.
 */
import { BYTE_CHARACTERS } from './tokenizer/byte-level.ts';
import { asRecord, type JsonObject } from './tokenizer/json.ts';

/** A token of a script that the model reads, or of no script: digits, punctuation, emoji. */
export const READ = 0;
/** A token of a script that the model does not read. */
export const FOREIGN = 1;
/** Bytes in the middle of a character, which belong to the token before them. */
export const CONTINUES = 2;

/** Scripts of ISO 15924 that stand for several scripts of Unicode. Korean is Hangul alone: it has next to no Han any more. */
const COMBINED: Readonly<Record<string, readonly string[]>> = {
  Hans: ['Hani'],
  Hant: ['Hani'],
  Jpan: ['Hani', 'Hira', 'Kana'],
  Kore: ['Hang'],
};

/**
 * Latin counts as read by every model: names, brands, links and mentions are in Latin letters in any text, and many languages have a
 * second, Latin spelling (Serbian, Uzbek, Hindi in chats). Zyyy (Common) has letters of no script, Zinh (Inherited) the accents of
 * any. Digits, punctuation and emoji are not judged.
 */
const ALWAYS_READ = ['Latn', 'Zyyy', 'Zinh'];

/**
 * @param definition tokenizer.json
 * @param languages of the model, as primary subtags of BCP 47
 * @returns READ, FOREIGN or CONTINUES by token id; undefined when the script of one of the languages is not known
 */
export function foreignTokens(definition: JsonObject, languages: readonly string[]): Uint8Array | undefined {
  const scripts = languages.map(scriptsOf);
  if (!scripts.every((each) => each !== undefined)) return undefined;
  const tokens = tokensOf(definition);
  const judge = new Judge(scripts.flat());
  const size = tokens.reduce((most, [, id]) => Math.max(most, id + 1), 0);
  const found = new Uint8Array(Math.min(size, MAX_IDS));
  const bytesOf = byteReader(definition);
  for (const [token, id] of tokens) found[id] = judge.token(bytesOf(token) ?? token);
  return found;
}

/** How many of `count` tokens are in a script that the model does not read. @param kinds as foreignTokens() gives them */
export function countForeign(
  ids: readonly number[],
  start: number,
  count: number,
  kinds: Uint8Array,
): number {
  let foreign = 0;
  let last = READ;
  for (let i = start; i < start + count; i++) {
    const kind = kinds[ids[i] ?? 0] ?? READ;
    if (kind !== CONTINUES) last = kind;
    if (last === FOREIGN) foreign++;
  }
  return foreign;
}

/** The Unicode scripts that a language is written in; undefined for a language without a known script. */
export function scriptsOf(language: string): readonly string[] | undefined {
  // The likeliest script of an undetermined language is Latin.
  if (language === 'und') return undefined;
  const { script } = new Intl.Locale(language).maximize();
  if (script === undefined) return undefined;
  const scripts = COMBINED[script] ?? [script];
  try {
    lettersOf(scripts);
    return scripts;
  } catch {
    // A script that is none of Unicode's.
    return undefined;
  }
}

/** Matches a letter or a vowel sign of the scripts. */
const lettersOf = (scripts: readonly string[]) => letter(`[${listed(scripts)}]`);
const lettersOfOthers = (scripts: readonly string[]) => letter(`[^${listed(scripts)}]`);
const listed = (scripts: readonly string[]) => scripts.map((script) => `\\p{Script=${script}}`).join('');
const letter = (characters: string) => new RegExp(`(?=[\\p{L}\\p{M}])${characters}`, 'u');

/** Tokens with their ids, without added ones: an added token was put there for this model. */
function tokensOf(definition: JsonObject): (readonly [token: string, id: number])[] {
  const vocabulary = asRecord(definition.model)?.vocab;
  if (Array.isArray(vocabulary)) return (vocabulary as [string][]).map(([token], id) => [token, id] as const);
  return Object.entries((vocabulary ?? {}) as Record<string, number>);
}

/** How the tokens of this vocabulary spell bytes; undefined for a token that spells characters. */
function byteReader(definition: JsonObject): (token: string) => Buffer | undefined {
  if (hasByteLevel(definition.pre_tokenizer) || hasByteLevel(definition.normalizer)) {
    const bytes = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
    return (token) => Buffer.from(Array.from(token, (character) => bytes.get(character) ?? 0));
  }
  if (asRecord(definition.model)?.byte_fallback !== true) return () => undefined;
  return (token) => {
    const byte = /^<0x([0-9A-F]{2})>$/.exec(token)?.[1];
    return byte === undefined ? undefined : Buffer.from(byte, 'hex');
  };
}

function hasByteLevel(part: unknown): boolean {
  const { type, pretokenizers, normalizers } = asRecord(part) ?? {};
  const parts = pretokenizers ?? normalizers;
  return type === 'ByteLevel' || (Array.isArray(parts) && parts.some(hasByteLevel));
}

const PRINTABLE_ASCII = /^[ -~]*$/;
/** Ids beyond it are not judged: a file may name an id of 2 ** 31. The largest vocabularies have 256,000 tokens. */
const MAX_IDS = 1 << 22;

class Judge {
  readonly #read: RegExp;
  readonly #foreign: RegExp;

  /** @param scripts of the model's languages, by the short names of Unicode */
  constructor(scripts: readonly string[]) {
    this.#read = lettersOf(['Latn', ...scripts]);
    this.#foreign = lettersOfOthers([...ALWAYS_READ, ...scripts]);
  }

  token(token: string | Buffer): number {
    if (typeof token === 'string') return this.#isForeign(token) ? FOREIGN : READ;
    const start = token.findIndex((byte) => !isContinuation(byte));
    if (start === -1) return token.length > 0 ? CONTINUES : READ;
    const whole = token.subarray(start);
    const end = endOfCharacters(whole);
    const text = whole.toString('utf8', 0, end) + possibleCharacters(whole.subarray(end));
    return this.#isForeign(text) ? FOREIGN : READ;
  }

  #isForeign(text: string): boolean {
    return !PRINTABLE_ASCII.test(text) && this.#foreign.test(text) && !this.#read.test(text);
  }
}

const isContinuation = (byte: number): boolean => (byte & 0xc0) === 0x80;

/** Bytes of a character in UTF-8, by its first byte. */
const sizeOf = (first: number): number => (first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4);

/** Index of the first byte of an incomplete last character; the number of bytes when the last is complete. */
function endOfCharacters(bytes: Buffer): number {
  const last = bytes.findLastIndex((byte) => !isContinuation(byte));
  return last + sizeOf(bytes[last] ?? 0) > bytes.length ? last : bytes.length;
}

/**
 * The characters that begin with these bytes of an incomplete one. None for the first two of four: they begin emoji, and beside them
 * characters of many scripts.
 */
function possibleCharacters(bytes: Buffer): string {
  const [first] = bytes;
  if (first === undefined) return '';
  const size = sizeOf(first);
  const missing = size - bytes.length;
  if (size === 4 && missing > 1) return '';
  const least = LEAST[size] ?? 0;
  // Of the first byte, the bits behind the marker of its size.
  let value = first & (0xff >> (size + 1));
  for (const byte of bytes.subarray(1)) value = (value << 6) | (byte & 0x3f);
  const start = value << (6 * missing);
  const points = Array.from({ length: 1 << (6 * missing) }, (_, i) => start + i);
  return String.fromCodePoint(...points.filter((point) => isScalar(point) && point >= least));
}

/** Least code point by its number of bytes in UTF-8. */
const LEAST: Readonly<Record<number, number>> = { 1: 0, 2: 0x80, 3: 0x800, 4: 0x10000 };

/** Whether a code point is a character of UTF-8. */
const isScalar = (point: number): boolean => point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
