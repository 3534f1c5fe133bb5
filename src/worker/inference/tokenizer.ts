/**
 * Text → token ids, in slices: JavaScript tokenizers take milliseconds for long texts, and the loop they run on also
 * renews locks and answers health checks. One queue for the whole process, worked off a few milliseconds at a time.
 *
 * Tried and left: remembering the pieces of 50,000 words, 40 µs a text instead of 43 (an archive of 309,431 tweets and
 * comments in 9 languages has too many different words).
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { StartupError, toError } from '../../shared/errors.ts';
import { mendNormalizer } from './normalizers.ts';
import { asRecord, readSettings, type Side } from './tokenizer/settings.ts';

export type { Side as TruncationSide } from './tokenizer/settings.ts';

/** What the model gets of one text. */
export interface ModelInput {
  /** Token ids with special tokens, not padded; shape [tokens]. */
  ids: Int32Array;
  /** Segment ids; only when the model reads them and they are not all 0. Shape [tokens]. */
  typeIds: Int32Array | undefined;
}

/** One text as tokens. */
export interface EncodedText extends ModelInput {
  /** It had more tokens than the model reads. */
  truncated: boolean;
  /** How many tokens are the text's own, special tokens and those cut off aside. */
  own: number;
  /** How many of these are the unknown token; 0 for models without one. */
  unknown: number;
  /** How many of these stand for white space alone, as SentencePiece sets before each word. */
  blank: number;
}

/** White space, as itself or as SentencePiece writes it. */
const BLANK = /^[\s\u2581]+$/;

/** How long one slice may hold the event loop. */
const SLICE_MS = 4;

interface Pending {
  text: string;
  side: Side | undefined;
  resolve: (encoded: EncodedText) => void;
  reject: (error: Error) => void;
}

export class TextTokenizer {
  /** What it does in the end, such as `WordPiece`. */
  readonly kind: string;
  /** Padding and truncation as the tokenizer's files ask for them. */
  readonly padId: number | undefined;
  readonly paddingSide: Side;
  readonly truncationSide: Side;
  readonly #tokenizer: HfTokenizer;
  readonly #maxTokens: number;
  readonly #prefix: number;
  readonly #suffix: number;
  /** Tokens that stand for white space alone. */
  readonly #blankIds: ReadonlySet<number>;
  readonly #observe: (ms: number) => void;
  readonly #urgent = new Backlog();
  readonly #background = new Backlog();
  #scheduled = false;

  /**
   * @param folder model folder with tokenizer.json and, if it has one, tokenizer_config.json
   * @param maxTokens the model's limit, special tokens included
   * @param observe told how long each text took, in ms
   * @throws StartupError when the files are missing or cannot be served
   */
  constructor(folder: string, maxTokens: number, observe: (ms: number) => void = () => {}) {
    this.#maxTokens = maxTokens;
    this.#observe = observe;
    try {
      const definition = readJson(folder, 'tokenizer.json');
      const config = readOptionalJson(folder, 'tokenizer_config.json');
      const tokenizer = new HfTokenizer(definition, config);
      this.#tokenizer = tokenizer;
      this.kind = (definition as { model?: { type?: string } }).model?.type ?? 'unknown';
      const settings = readSettings({
        definition,
        config,
        specialTokens: readOptionalJson(folder, 'special_tokens_map.json'),
        idOf: (token) => tokenizer.token_to_id(token),
      });
      this.padId = settings.padId;
      this.paddingSide = settings.paddingSide;
      this.truncationSide = settings.truncationSide;
      mendNormalizer(this.#tokenizer.normalizer);
      // Truncation must keep the special tokens around the text; their number is what an empty text encodes to, and
      // which of them come first is found by looking where a text's own tokens appear.
      const empty = this.#tokenizer.encode('', { return_token_type_ids: true }).ids;
      const probe = this.#tokenizer.encode('a', { return_token_type_ids: true }).ids;
      this.#prefix = commonPrefix(empty, probe);
      this.#suffix = empty.length - this.#prefix;
      this.#blankIds = new Set(
        this.#tokenizer.model.vocab.flatMap((token, id) => (BLANK.test(token) ? [id] : [])),
      );
    } catch (error) {
      if (error instanceof StartupError) throw error;
      throw new StartupError(`${folder}: the tokenizer cannot be loaded: ${toError(error).message}`, {
        cause: error,
      });
    }
  }

  /**
   * Encodes one text when its turn comes.
   * @param side where a text that is too long is cut; the tokenizer's own `truncationSide` by default
   * @param background wait behind all texts that are not: a chunk of an archive holds thousands
   */
  encode(text: string, side?: Side, background = false): Promise<EncodedText> {
    return new Promise((resolve, reject) => {
      const backlog = background ? this.#background : this.#urgent;
      backlog.push({ text, side, resolve, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      let now = performance.now();
      const end = now + SLICE_MS;
      while (now < end) {
        const pending = this.#urgent.shift() ?? this.#background.shift();
        if (!pending) return;
        try {
          pending.resolve(this.encodeNow(pending.text, pending.side));
        } catch (error) {
          pending.reject(toError(error));
        }
        const start = now;
        now = performance.now();
        this.#observe(now - start);
      }
      this.#schedule();
    });
  }

  /** Encodes one text at once. Cuts the text's own tokens, on the given side, to what the model reads. */
  encodeNow(text: string, side: Side = this.truncationSide): EncodedText {
    const { ids, token_type_ids: types } = this.#tokenizer.encode(text, { return_token_type_ids: true });
    const segmented = types.some((type) => type !== 0);
    const excess = ids.length - this.#maxTokens;
    const cut = (values: number[]) => {
      if (excess <= 0) return Int32Array.from(values);
      const start = side === 'right' ? values.length - this.#suffix - excess : this.#prefix;
      return Int32Array.from([...values.slice(0, start), ...values.slice(start + excess)]);
    };
    const kept = cut(ids);
    return {
      ids: kept,
      typeIds: segmented ? cut(types) : undefined,
      truncated: excess > 0,
      ...this.#countOwn(kept),
    };
  }

  #countOwn(ids: Int32Array): Pick<EncodedText, 'own' | 'unknown' | 'blank'> {
    const unknownId = this.#tokenizer.model.unk_token_id;
    const end = ids.length - this.#suffix;
    let unknown = 0;
    let blank = 0;
    for (let i = this.#prefix; i < end; i++) {
      const id = ids[i] as number;
      if (id === unknownId) unknown++;
      else if (this.#blankIds.has(id)) blank++;
    }
    return { own: end - this.#prefix, unknown, blank };
  }
}

/** Items already taken that a backlog keeps before it moves the others up. */
const MAX_TAKEN = 1024;

/** First in, first out, without moving what is behind at every step. */
class Backlog {
  readonly #items: Pending[] = [];
  #next = 0;

  push(item: Pending): void {
    this.#items.push(item);
  }

  shift(): Pending | undefined {
    const item = this.#items[this.#next++];
    if (!item || this.#next === MAX_TAKEN) {
      this.#items.splice(0, this.#next);
      this.#next = 0;
    }
    return item;
  }
}

function readJson(folder: string, file: string): Record<string, unknown> {
  const name = path.join(folder, file);
  try {
    const value = asRecord(JSON.parse(readFileSync(name, 'utf8')));
    if (!value) throw new Error('expected a JSON object');
    return { ...value };
  } catch (error) {
    throw new StartupError(`${name} cannot be read: ${toError(error).message}`, { cause: error });
  }
}

/** @returns `{}` when there is no such file */
function readOptionalJson(folder: string, file: string): Record<string, unknown> {
  return existsSync(path.join(folder, file)) ? readJson(folder, file) : {};
}

function commonPrefix(a: number[], b: number[]): number {
  const end = a.findIndex((value, i) => value !== b[i]);
  return end === -1 ? a.length : end;
}
