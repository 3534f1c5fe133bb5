/**
 * Text normalisers of tokenizer.json where those of @huggingface/tokenizers give other text than the tokenizers package of
 * Python, with which models are trained. test/integration/model-parity.test.ts compares the two.
 */
import { precompiledNormalizer } from './precompiled-normalizer.ts';

/** A normaliser as @huggingface/tokenizers builds it from tokenizer.json. */
export interface Normalizer {
  readonly config: NormalizerConfig;
  /** Those of a `Sequence`. */
  readonly normalizers?: readonly (Normalizer | null)[];
  normalize: (text: string) => string;
}

export interface NormalizerConfig {
  type: string;
  clean_text?: boolean;
  handle_chinese_chars?: boolean;
  strip_accents?: boolean | null;
  lowercase?: boolean;
  strip_left?: boolean;
  strip_right?: boolean;
  precompiled_charsmap?: string | null;
}

/** Puts ours into the place of those that differ; a Sequence keeps its order. */
export function mendNormalizer(normalizer: Normalizer | null): void {
  if (!normalizer) return;
  for (const part of normalizer.normalizers ?? []) mendNormalizer(part);
  const { config } = normalizer;
  if (config.type === 'BertNormalizer') normalizer.normalize = bertNormalizer(config);
  if (config.type === 'Lowercase') normalizer.normalize = lowercase;
  if (config.type === 'Strip') normalizer.normalize = strip(config);
  if (config.type === 'Precompiled' && config.precompiled_charsmap) {
    normalizer.normalize = precompiledNormalizer(Buffer.from(config.precompiled_charsmap, 'base64'));
  }
}

const REMOVED = /[\0\uFFFD]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu;

/**
 * Characters that BERT takes for words of their own. U+2B820–U+2B91F belong to the same block as what follows, but a slip
 * in Python's package leaves them out, so every model was trained without them.
 */
const CJK =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu;

/** The library's forgets CJK characters beyond U+FFFF, and lowercases as `lowercase` does not. */
function bertNormalizer(config: NormalizerConfig): (text: string) => string {
  const stripAccents = config.strip_accents ?? config.lowercase;
  return (text) => {
    let result = text;
    if (config.clean_text) result = result.replace(REMOVED, '').replace(/\s/g, ' ');
    if (config.handle_chinese_chars) result = result.replace(CJK, ' $& ');
    if (stripAccents) result = result.normalize('NFD').replace(/\p{Mn}/gu, '');
    if (config.lowercase) result = lowercase(result);
    return result;
  };
}

/** Character by character: a Σ at the end of a word is σ like any other, where JavaScript writes ς. */
function lowercase(text: string): string {
  return text.replaceAll('Σ', 'σ').toLowerCase();
}

/** What is white space to Unicode: unlike JavaScript's trim, U+0085 is and U+FEFF is not. */
function strip({ strip_left: left, strip_right: right }: NormalizerConfig): (text: string) => string {
  return (text) => {
    const start = left ? text.search(/\P{White_Space}/u) : 0;
    if (start === -1) return '';
    return right
      ? text.slice(start).replace(/(?<!\p{White_Space})\p{White_Space}+$/u, '')
      : text.slice(start);
  };
}
