/**
 * Checks that the start of a text can be recognised after normalisation, as Metaspace with `prepend_scheme` first requires. Python
 * compares where the first character was before the normalisers, which is known here only for normalisers that are used with
 * Metaspace in practice.
 */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import { asRecord, type JsonObject } from './json.ts';

/** Normalisers that keep the start of a text. */
const EXACT = new Set(['Lowercase', 'Precompiled', 'NFC', 'NFD', 'NFKC', 'NFKD', 'ByteLevel']);
/** Normalisers that may remove the start; still exact unless one before them turned one character into several. */
const REMOVING = new Set(['Strip', 'StripAccents', 'Nmt']);
/** Patterns of Replace that were compared with Python: those of white space. */
const WHITE_SPACE_PATTERN = /^(?: |\\s)(?:\+|\{\d+,\})?$/;

/** @throws StartupError when the start of a text cannot be recognised as in Python after this normaliser */
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
