/**
 * Tokens that were added to a model's vocabulary. They are cut out of a text before the model tokenizes it: those that are not
 * normalised from the text itself, the others from the normalised text.
 */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import type { JsonObject } from './json.ts';
import type { Vocabulary } from './models/model.ts';
import { escapeRegExp } from './patterns.ts';
import { WORD_CHARACTER } from './pre-tokenizers.ts';
import { skipWhiteSpace, skipWhiteSpaceBack } from './white-space.ts';

interface AddedToken {
  content: string;
  /** Matches only where no letter, digit or the like is beside it. */
  singleWord: boolean;
  /** Whether the token includes the white space on this side. */
  lstrip: boolean;
  rstrip: boolean;
  special: boolean;
  normalized: boolean;
}

/** Text, or the id of an added token. */
export type Section = string | number;

export class AddedTokens {
  /** Ids by content. */
  readonly ids: ReadonlyMap<string, number>;
  readonly #raw: Matcher;
  readonly #normalized: Matcher;

  /**
   * @param configs `added_tokens` of tokenizer.json, checked
   * @param vocabulary of the model
   * @param ignoresSpecial `split_special_tokens`: special tokens in a text are ordinary text
   */
  constructor(
    configs: readonly JsonObject[],
    vocabulary: Vocabulary,
    normalize: (text: string) => string,
    ignoresSpecial: boolean,
  ) {
    const ids = new Map<string, number>();
    const tokens = configs.map(toToken).filter(({ content }) => content !== '');
    for (const { content } of tokens)
      if (!ids.has(content)) ids.set(content, vocabulary.get(content) ?? nextId(ids, vocabulary));
    this.ids = ids;
    // When a token is listed twice, the last entry decides how it matches, but each entry whether it matches before or after
    // normalisation. Of two tokens that are equal after normalisation, the special one is used.
    const last = new Map(tokens.map((token) => [token.content, token]));
    const special = tokens.filter(
      (token, i) =>
        token.special && tokens.findIndex((each) => each.special && each.content === token.content) === i,
    );
    const isSpecial = new Set(special.map(({ content }) => content));
    const ordered = [...special, ...tokens.filter(({ content }) => !isSpecial.has(content))];
    const matched = ordered.filter(({ content }) => !(ignoresSpecial && isSpecial.has(content)));
    const matcher = (normalized: boolean, prepare: (content: string) => string) =>
      new Matcher(
        matched
          .filter((token) => token.normalized === normalized)
          .map(({ content }) => ({
            pattern: prepare(content),
            id: ids.get(content) ?? 0,
            token: last.get(content) as AddedToken,
          })),
      );
    this.#raw = matcher(false, (content) => content);
    this.#normalized = matcher(true, normalize);
  }

  /** Cuts the tokens out of a text that was not normalised. */
  split(text: string): Section[] {
    return this.#raw.split(text);
  }

  /** Cuts the tokens out of a normalised text. */
  splitNormalized(text: string): Section[] {
    return this.#normalized.split(text);
  }
}

function toToken(config: JsonObject): AddedToken {
  const special = config.special === true;
  return {
    content: config.content as string,
    special,
    singleWord: config.single_word === true,
    lstrip: config.lstrip === true,
    rstrip: config.rstrip === true,
    normalized: config.normalized === true,
  };
}

/** The first unused id, as in Python, which ignores the ids in tokenizer.json. */
function nextId(ids: ReadonlyMap<string, number>, vocabulary: Vocabulary): number {
  let greatest = -1;
  for (const id of ids.values()) greatest = Math.max(greatest, id);
  return greatest >= vocabulary.size ? greatest + 1 : vocabulary.size;
}

interface Candidate {
  pattern: string;
  id: number;
  token: AddedToken;
}

/** Finds the leftmost token, and the longest of several at the same place. */
class Matcher {
  readonly #pattern: RegExp | undefined;
  /** Each token begins with one of these; mostly one, `<` or `[`. */
  readonly #beginnings: readonly string[];
  readonly #candidates = new Map<string, Candidate>();

  constructor(candidates: readonly Candidate[]) {
    for (const candidate of candidates) {
      const { pattern, token } = candidate;
      if (pattern === '') {
        throw new StartupError(
          `tokenizer.json: the added token ${JSON.stringify(token.content)} is empty after normalisation, ` +
            'which is not supported',
        );
      }
      if (!this.#candidates.has(pattern)) this.#candidates.set(pattern, candidate);
    }
    const patterns = [...this.#candidates.keys()].sort((a, b) => b.length - a.length);
    this.#beginnings = [...new Set(patterns.map((pattern) => characterAt(pattern, 0)))];
    if (patterns.length > 0) this.#pattern = new RegExp(patterns.map(escapeRegExp).join('|'), 'gu');
  }

  split(text: string): Section[] {
    if (!this.#pattern || !this.#mayContain(text) || text.search(this.#pattern) === -1)
      return text === '' ? [] : [text];
    const sections: Section[] = [];
    let previous = 0;
    for (const { 0: content, index } of text.matchAll(this.#pattern)) {
      const candidate = this.#candidates.get(content);
      if (!candidate) continue;
      const { token, id } = candidate;
      let start = index;
      let end = index + content.length;
      if (token.singleWord && (endsWithWord(text, start) || WORD_CHARACTER.test(characterAt(text, end))))
        continue;
      if (token.lstrip) start = Math.max(skipWhiteSpaceBack(text, start), previous);
      if (token.rstrip) end = skipWhiteSpace(text, end);
      if (previous < start) sections.push(text.slice(previous, start));
      // White space that this token and the one before both include belongs to the one before.
      if (start < end) sections.push(id);
      previous = end;
    }
    if (previous < text.length) sections.push(text.slice(previous));
    return sections;
  }

  /** Looks for the beginnings of tokens, which takes a tenth of the pattern's time. */
  #mayContain(text: string): boolean {
    const beginnings = this.#beginnings;
    return beginnings.length > FEW || beginnings.some((beginning) => text.includes(beginning));
  }
}

/** Of more different beginnings, one is in most texts. */
const FEW = 4;

function characterAt(text: string, index: number): string {
  const code = text.codePointAt(index);
  return code === undefined ? '' : String.fromCodePoint(code);
}

/** Whether the character before `index` belongs to a word. */
function endsWithWord(text: string, index: number): boolean {
  return WORD_CHARACTER.test(
    text.slice(Math.max(0, index - 2), index).replace(/^[^](?=[^\uDC00-\uDFFF])/, ''),
  );
}
