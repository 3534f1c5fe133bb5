/**
 * Normalisers of tokenizer.json, as in Python's tokenizers package, with which models are trained. JavaScript's functions of the
 * same name give nearly the same results, but not always.
 */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import { toByteCharacters } from './byte-level.ts';
import { orderLongRuns } from './canonical-order.ts';
import { asRecord, type JsonObject } from './json.ts';
import { compilePattern } from './patterns.ts';
import { precompiledNormalizer } from './precompiled.ts';
import { matchesOf } from './split.ts';
import { BLOCK_UNITS, finish, inBlocks, isLowSurrogate } from './steps.ts';
import { BERT_ACCENTS, CONTROL, MARKS, NEVER_COMPOSED } from './unicode-tables.ts';
import { isWhiteSpace, skipWhiteSpace, skipWhiteSpaceBack } from './white-space.ts';

export type Normalize = (text: string) => string;

export interface Normalizer {
  normalize: Normalize;
  /** As normalize, in steps of a few milliseconds, for texts of any length. */
  inSteps: (text: string) => Generator<void, string>;
  /**
   * Whether the first character of the normalised text comes from the first one of the text, or was put before it. Python
   * then treats it as the start of the text.
   */
  keepsStart: (text: string) => boolean;
}

type Form = 'NFC' | 'NFD' | 'NFKC' | 'NFKD';

/**
 * @param config one that `checkDefinition` accepted, or null
 * @returns its normalisers, in order
 */
export function createNormalizers(config: JsonObject | null): Normalizer[] {
  if (config === null) return [];
  if (config.type === 'Sequence') return (config.normalizers as JsonObject[]).flatMap(createNormalizers);
  return [createNormalizer(config)];
}

export function normalizeAll(normalizers: readonly Normalizer[], text: string): string {
  let result = text;
  for (const { normalize } of normalizers) result = normalize(result);
  return result;
}

function createNormalizer(config: JsonObject): Normalizer {
  switch (config.type) {
    case 'BertNormalizer':
      return bertNormalizer(config);
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return mapped(unicodeNormalizer(config.type), STARTER);
    case 'Lowercase':
      return mapped(lowercase);
    case 'Strip':
      return strip(config);
    case 'StripAccents':
      return mapped((text) => text.replace(ACCENTS, ''));
    case 'Replace':
      return replace(config);
    case 'Prepend':
      return whole(
        (text) => (text === '' ? '' : `${config.prepend as string}${text}`),
        () => true,
      );
    case 'Nmt':
      return mapped((text) => text.replace(NMT_REMOVED, '').replace(NMT_SPACES, ' '));
    case 'Precompiled':
      // In Python, the character after a removed one counts as the removed one.
      return { ...precompiled(config.precompiled_charsmap), keepsStart: () => true };
    default:
      return mapped(toByteCharacters);
  }
}

const ANY_CHARACTER = /[^]/gu;
/** Characters that do not join the one before them, and whose decompositions do not either. */
export const STARTER =
  /[^\p{M}\p{C}\uFFFD\u0E33\u0EB3\u1160-\u11FF\u3131-\u318E\uD7B0-\uD7FF\uFF9E-\uFFDC\u{16D67}-\u{16D6A}]/gu;

/**
 * A normaliser that replaces or removes each character by itself.
 * @param first where a text may be cut: normalising both parts alone gives the same as normalising the whole
 */
function mapped(normalize: Normalize, first = ANY_CHARACTER): Normalizer {
  return {
    normalize,
    inSteps: (text) =>
      inBlocks(text, normalize, (from) => {
        first.lastIndex = isLowSurrogate(text.charCodeAt(from)) ? from + 1 : from;
        return first.exec(text)?.index ?? text.length;
      }),
    keepsStart: (text) => text === '' || normalize(String.fromCodePoint(text.codePointAt(0) ?? 0)) !== '',
  };
}

/** A normaliser that is fast enough for a whole text in one step. */
function whole(normalize: Normalize, keepsStart: Normalizer['keepsStart']): Normalizer {
  return {
    normalize,
    // eslint-disable-next-line require-yield
    *inSteps(text) {
      return normalize(text);
    },
    keepsStart,
  };
}

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;
const REMOVED = new RegExp(`[\\0\\uFFFD${CONTROL}]`, 'gu');
const ACCENTS = new RegExp(`[${MARKS}]`, 'gu');
const BERT_ACCENT = new RegExp(`[${BERT_ACCENTS}]`, 'gu');

/**
 * Characters that BERT takes for single words. U+2B820–U+2B91F belong to the same block as what follows, but a slip
 * in Python's package leaves them out, so every model was trained without them.
 */
const CJK =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

function bertNormalizer(config: JsonObject): Normalizer {
  const cleans = config.clean_text === true;
  const stripsAccents = (config.strip_accents ?? config.lowercase) === true;
  const toNfd = unicodeNormalizer('NFD');
  const clean = (text: string) => text.replace(REMOVED, '').replace(/\p{White_Space}/gu, ' ');
  const separate = (text: string) => text.replace(CJK, ' $& ');
  const strip = (text: string) => text.replace(BERT_ACCENT, '');
  // Each cuts its own blocks: only NFD has to keep a character and its marks together.
  const parts = [
    ...(cleans ? [mapped(clean)] : []),
    ...(config.handle_chinese_chars === true ? [mapped(separate)] : []),
    ...(stripsAccents ? [mapped(toNfd, STARTER), mapped(strip)] : []),
    ...(config.lowercase === true ? [mapped(lowercase)] : []),
  ];
  const normalize = (text: string) => {
    // Most texts: nothing to clean, no CJK, no accents.
    if (PRINTABLE_ASCII.test(text)) return config.lowercase === true ? lowercase(text) : text;
    return normalizeAll(parts, text);
  };
  return {
    ...mapped(normalize),
    *inSteps(text) {
      let result = text;
      for (const part of parts) {
        result = yield* part.inSteps(result);
        yield;
      }
      return result;
    },
  };
}

const NEVER_COMPOSED_CHARACTER = new RegExp(`([${NEVER_COMPOSED}])`, 'u');

/** Normalises the text on both sides of a character that is newer than Python's tables separately. */
function unicodeNormalizer(form: Form): Normalize {
  const decomposed = form.startsWith('NFK') ? 'NFKD' : 'NFD';
  const normalize = (text: string) => orderLongRuns(text, decomposed).normalize(form);
  return (text) =>
    NEVER_COMPOSED_CHARACTER.test(text)
      ? text
          .split(NEVER_COMPOSED_CHARACTER)
          .map((part, i) => (i % 2 === 0 ? normalize(part) : part))
          .join('')
      : normalize(text);
}

/** Character by character: a Σ at the end of a word is σ like any other, where JavaScript writes ς. */
function lowercase(text: string): string {
  return text.replaceAll('Σ', 'σ').toLowerCase();
}

function strip(config: JsonObject): Normalizer {
  return whole(
    (text) => {
      const start = config.strip_left ? skipWhiteSpace(text, 0) : 0;
      const end = config.strip_right ? skipWhiteSpaceBack(text, text.length) : text.length;
      return text.slice(start, Math.max(start, end));
    },
    (text) => !(config.strip_left && isWhiteSpace(text, 0)),
  );
}

function precompiled(charsmap: unknown): Omit<Normalizer, 'keepsStart'> {
  if (typeof charsmap !== 'string') return mapped((text) => text);
  try {
    return precompiledNormalizer(Buffer.from(charsmap, 'base64'));
  } catch (error) {
    throw new StartupError('tokenizer.json: precompiled_charsmap of the normalizer is not a whole table', {
      cause: error,
    });
  }
}

function replace(config: JsonObject): Normalizer {
  const pattern = compilePattern(config.pattern, 'normalizer Replace');
  const content = config.content as string;
  const keepsStart = (text: string) => {
    for (const [start, end] of matchesOf(text, pattern)) {
      // A replacement of several characters counts as the last of them.
      return start > 0 || (content !== '' && Array.from(text.slice(0, end)).length <= 1);
    }
    return true;
  };
  const literal = asRecord(config.pattern)?.String;
  if (typeof literal === 'string')
    return whole((text) => text.replaceAll(literal, () => content), keepsStart);
  // Properties are those of another Unicode in Python, so such a pattern cannot simply be tried.
  const mayBeTried = !/\\p/i.test(pattern.source);
  const inSteps = function* (text: string): Generator<void, string> {
    let result = '';
    let previous = 0;
    let blockEnd = BLOCK_UNITS;
    for (const [start, end] of matchesOf(text, pattern)) {
      result += text.slice(previous, start) + content;
      previous = end;
      if (end < blockEnd) continue;
      blockEnd = end + BLOCK_UNITS;
      yield;
    }
    return result + text.slice(previous);
  };
  const normalize = (text: string): string =>
    mayBeTried && text.search(pattern) === -1 ? text : finish(inSteps(text));
  return { normalize, inSteps, keepsStart };
}

/* eslint-disable no-control-regex -- control characters are what it is about */
const NMT_REMOVED = /[\x01-\x08\x0B\x0E-\x1F\x7F\x8F\x9F]/g;
/* eslint-enable no-control-regex */
const NMT_SPACES = /[\t\n\f\r\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]/g;
