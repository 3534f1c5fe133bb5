/**
 * Metaspace with `prepend_scheme` first asks whether a piece is the beginning of the text. Python answers by where its first
 * character stood before the normalisers, which here is only known for the normalisers that go with it in practice.
 */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import { asRecord, type JsonObject } from './json.ts';

/** They leave each character what it is, or where it is. */
const EXACT = new Set(['Lowercase', 'Precompiled', 'NFC', 'NFD', 'NFKC', 'NFKD', 'ByteLevel']);
/** They may remove the beginning; exact unless another has made several characters of one before. */
const REMOVING = new Set(['Strip', 'StripAccents', 'Nmt']);
/** Patterns of Replace that were compared: of one character or of white space. */
const WHITE_SPACE_PATTERN = /^(?: |\\s)(?:\+|\{\d+,\})?$/;

/** @throws StartupError when the beginning of a text cannot be told as in Python after this normaliser */
export function checkStart(normalizer: JsonObject | null): void {
  const parts = normalizer ? flatten(normalizer) : [];
  parts.forEach((part, i) => {
    const type = part.type as string;
    if (EXACT.has(type) || type === 'Prepend') return;
    const pattern = asRecord(part.pattern)?.Regex;
    if (type === 'Replace' && (typeof pattern !== 'string' || WHITE_SPACE_PATTERN.test(pattern))) return;
    const removesRight = type === 'Strip' && part.strip_left === false;
    if (
      removesRight ||
      (REMOVING.has(type) && parts.slice(0, i).every((each) => REMOVING.has(each.type as string)))
    )
      return;
    throw new StartupError(
      `tokenizer.json uses pre_tokenizer Metaspace with prepend_scheme "first" behind normalizer ${type}` +
        `${i > 0 ? ` after ${parts[i - 1]?.type as string}` : ''}, which is not supported`,
    );
  });
}

function flatten(config: JsonObject): JsonObject[] {
  return config.type === 'Sequence' ? (config.normalizers as JsonObject[]).flatMap(flatten) : [config];
}
