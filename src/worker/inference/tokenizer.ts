/**
 * Text → token ids, in slices: JavaScript tokenizers take milliseconds for long texts, and the loop they run on also
 * renews locks and answers health checks. One queue for the whole process, worked off a few milliseconds at a time.
 *
 * Tried and left: remembering the pieces of 50,000 words, 40 µs a text instead of 43 (an archive of 309,431 tweets and
 * comments in 9 languages has too many different words).
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { StartupError, toError } from '../../shared/errors.ts';
import { mendNormalizer } from './normalizers.ts';

export type TruncationSide = 'right' | 'left';

/** One text as the model sees it. */
export interface EncodedText {
  /** Token ids with special tokens, not padded; shape [tokens]. */
  ids: Int32Array;
  /** Segment ids; only when the model reads them and they are not all 0. Shape [tokens]. */
  typeIds: Int32Array | undefined;
  /** It had more tokens than the model reads. */
  truncated: boolean;
}

/** How long one slice may hold the event loop. */
const SLICE_MS = 4;

interface Pending {
  text: string;
  side: TruncationSide;
  resolve: (encoded: EncodedText) => void;
  reject: (error: Error) => void;
}

export class TextTokenizer {
  /** What it does in the end, such as `WordPiece`. */
  readonly kind: string;
  readonly #tokenizer: HfTokenizer;
  readonly #maxTokens: number;
  readonly #prefix: number;
  readonly #suffix: number;
  readonly #observe: (ms: number) => void;
  readonly #urgent = new Backlog();
  readonly #background = new Backlog();
  #scheduled = false;

  /**
   * @param folder model folder with tokenizer.json and tokenizer_config.json
   * @param maxTokens the model's limit, special tokens included
   * @param observe told how long each text took, in ms
   * @throws StartupError when the files are missing or not understood
   */
  constructor(folder: string, maxTokens: number, observe: (ms: number) => void = () => {}) {
    this.#maxTokens = maxTokens;
    this.#observe = observe;
    try {
      const definition = readJson(folder, 'tokenizer.json');
      this.#tokenizer = new HfTokenizer(definition, readJson(folder, 'tokenizer_config.json'));
      this.kind = (definition as { model?: { type?: string } }).model?.type ?? 'unknown';
      mendNormalizer(this.#tokenizer.normalizer);
      // Truncation must keep the special tokens around the text; their number is what an empty text encodes to, and
      // which of them come first is found by looking where a text's own tokens appear.
      const empty = this.#tokenizer.encode('', { return_token_type_ids: true }).ids;
      const probe = this.#tokenizer.encode('a', { return_token_type_ids: true }).ids;
      this.#prefix = commonPrefix(empty, probe);
      this.#suffix = empty.length - this.#prefix;
    } catch (error) {
      if (error instanceof StartupError) throw error;
      throw new StartupError(`${folder}: the tokenizer cannot be loaded: ${toError(error).message}`, {
        cause: error,
      });
    }
  }

  /**
   * Encodes one text when its turn comes.
   * @param background wait behind all texts that are not: a chunk of an archive holds thousands
   */
  encode(text: string, side: TruncationSide = 'right', background = false): Promise<EncodedText> {
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
  encodeNow(text: string, side: TruncationSide = 'right'): EncodedText {
    const { ids, token_type_ids: types } = this.#tokenizer.encode(text, { return_token_type_ids: true });
    const segmented = types.some((type) => type !== 0);
    const excess = ids.length - this.#maxTokens;
    if (excess <= 0) {
      return {
        ids: Int32Array.from(ids),
        typeIds: segmented ? Int32Array.from(types) : undefined,
        truncated: false,
      };
    }
    const cut = (values: number[]) => {
      const start = side === 'right' ? values.length - this.#suffix - excess : this.#prefix;
      return Int32Array.from([...values.slice(0, start), ...values.slice(start + excess)]);
    };
    return { ids: cut(ids), typeIds: segmented ? cut(types) : undefined, truncated: true };
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

function readJson(folder: string, file: string): object {
  const name = path.join(folder, file);
  try {
    return JSON.parse(readFileSync(name, 'utf8')) as object;
  } catch (error) {
    throw new StartupError(`${name} cannot be read: ${toError(error).message}`, { cause: error });
  }
}

function commonPrefix(a: number[], b: number[]): number {
  const end = a.findIndex((value, i) => value !== b[i]);
  return end === -1 ? a.length : end;
}
