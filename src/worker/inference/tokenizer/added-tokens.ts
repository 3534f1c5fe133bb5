/**
 * Tokens that were added to a model's vocabulary. They are cut out of a text before the model sees it: those that are not
 * normalised from the text itself, the others from the normalised text.
 */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import type { JsonObject } from './json.ts';
import { escapeRegExp } from './patterns.ts';
import { WORD_CHARACTER } from './pre-tokenizers.ts';
import { skipWhiteSpace, skipWhiteSpaceBack } from './white-space.ts';

interface AddedToken {
  content: string;
  /** Matches only where no letter, digit or the like is beside it. */
  singleWord: boolean;
  /** Takes the white space on this side of it along. */
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
   * @param vocabulary the model's
   * @param ignoresSpecial `split_special_tokens`: special tokens in a text are read as text
   */
  constructor(
    configs: readonly JsonObject[],
    vocabulary: ReadonlyMap<string, number>,
    normalize: (text: string) => string,
    ignoresSpecial: boolean,
  ) {
    const ids = new Map<string, number>();
    const tokens = configs.map(toToken).filter(({ content }) => content !== '');
    for (const { content } of tokens)
      if (!ids.has(content)) ids.set(content, vocabulary.get(content) ?? nextId(ids, vocabulary));
    this.ids = ids;
    // Of a token that is there twice, the last one says how it matches, but each whether before or after normalisation; of
    // two that are the same after it, the special one counts.
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

/** As in Python, which does not read the ids in tokenizer.json: the first one behind all there are. */
function nextId(ids: ReadonlyMap<string, number>, vocabulary: ReadonlyMap<string, number>): number {
  let greatest = -1;
  for (const id of ids.values()) greatest = Math.max(greatest, id);
  return greatest >= vocabulary.size ? greatest + 1 : vocabulary.size;
}

interface Candidate {
  pattern: string;
  id: number;
  token: AddedToken;
}

/** Finds the leftmost token, of several there the longest. */
class Matcher {
  readonly #pattern: RegExp | undefined;
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
    if (patterns.length > 0) this.#pattern = new RegExp(patterns.map(escapeRegExp).join('|'), 'gu');
  }

  split(text: string): Section[] {
    if (!this.#pattern || text.search(this.#pattern) === -1) return text === '' ? [] : [text];
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
      // White space that both this token and the one before take along is the other's.
      if (start < end) sections.push(id);
      previous = end;
    }
    if (previous < text.length) sections.push(text.slice(previous));
    return sections;
  }
}

function characterAt(text: string, index: number): string {
  const code = text.codePointAt(index);
  return code === undefined ? '' : String.fromCodePoint(code);
}

/** Is the character before `index` one of a word? */
function endsWithWord(text: string, index: number): boolean {
  return WORD_CHARACTER.test(
    text.slice(Math.max(0, index - 2), index).replace(/^[^](?=[^\uDC00-\uDFFF])/, ''),
  );
}
