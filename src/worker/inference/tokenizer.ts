/**
 * Tokenizes texts in slices of a few milliseconds: a JavaScript tokenizer takes milliseconds for a long text, and its event
 * loop also renews locks and answers health checks. A long text takes many slices, and short ones overtake it.
 *
 * Tried and left: remembering the pieces of 50,000 words, 40 µs a text instead of 43 (an archive of 309,431 tweets and
 * comments in 9 languages has too many different words).
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { countForeign, foreignTokens } from './foreign-scripts.ts';
import { parsePythonJson } from './model-config.ts';
import { Encoder, isShort } from './tokenizer/encoder.ts';
import { asRecord, type JsonObject } from './tokenizer/json.ts';
import { readSettings, type Side } from './tokenizer/settings.ts';
import { vocabularyRange, type VocabularyRange } from './vocabulary.ts';

export type { Side as TruncationSide } from './tokenizer/settings.ts';

/** The model's input for one text. */
export interface ModelInput {
  /** Token ids with special tokens, not padded; shape [tokens]. */
  ids: Int32Array;
  /** Segment ids; only when the model reads them and they are not all 0. Shape [tokens]. */
  typeIds: Int32Array | undefined;
}

/** One text as tokens. */
export interface EncodedText extends ModelInput {
  /** The text had more tokens than the model reads. */
  truncated: boolean;
  /** Tokens of the text itself, without special tokens and those that were cut off. */
  own: number;
  /** How many of these are the unknown token; 0 for models without one. */
  unknown: number;
  /** How many of these are white space alone. */
  blank: number;
  /** How many of these are in a script that the model's languages do not use; 0 when its languages are not known. */
  foreign: number;
}

export interface TokenizerOptions {
  /** Languages that the model reads (amulet.json). */
  languages?: readonly string[] | undefined;
  /** Called with the time that each text took, in ms. */
  observe?: ((ms: number) => void) | undefined;
}

/**
 * Texts that exercise every part of a tokenizer, encoded at the start: a broken tokenizer must fail there, not at a user's
 * text.
 */
const SELF_TEST_TEXTS = [
  '',
  ' ',
  'A first text, with 2 numbers: 10.5 %!',
  'Ünïcode ΔΡΟΜΟΣ Привет 你好 สวัสดี مرحبا',
  '😀👨‍👩‍👧🇩🇪 e\u0301\u200b\ufeff\u00a0\t\r\n',
  'word '.repeat(200),
];

/** How long one slice may hold the event loop. */
const SLICE_MS = 4;

interface Pending {
  text: string;
  side: Side;
  /** The remaining work, for a long text that has been started. */
  steps?: Generator<void, number[]>;
  /** Time that the text took so far. */
  ms: number;
  resolve: (encoded: EncodedText) => void;
  reject: (error: Error) => void;
}

export class TextTokenizer {
  /** Type of its model, such as `WordPiece`. */
  readonly kind: string;
  /** Padding and truncation as the tokenizer's files ask for them. */
  readonly padId: number | undefined;
  readonly paddingSide: Side;
  readonly truncationSide: Side;
  /** Token ids that a text may contain. */
  readonly vocabulary: VocabularyRange;
  readonly #encoder: Encoder;
  readonly #maxTokens: number;
  /** Whether segment ids must be sent: some are not 0. */
  readonly #segmented: boolean;
  /** By token id, whether the token is in a script that the model does not read; undefined when its languages are not known. */
  readonly #foreign: Uint8Array | undefined;
  readonly #observe: (ms: number) => void;
  readonly #short = new Fifo();
  readonly #long = new Fifo();
  readonly #background = new Fifo();
  /** The text of #long and that of #background in progress. One of each at a time: a long text in progress takes megabytes. */
  #startedLong: Pending | undefined;
  #startedBackground: Pending | undefined;
  /** Whether the next slice is for long texts first. */
  #longFirst = false;
  #scheduled = false;

  /**
   * @param folder model folder with tokenizer.json and, if it has one, tokenizer_config.json
   * @param maxTokens the model's limit, special tokens included
   * @throws StartupError when the files are missing or cannot be served
   */
  constructor(folder: string, maxTokens: number, { languages, observe }: TokenizerOptions = {}) {
    this.#maxTokens = maxTokens;
    this.#observe = observe ?? (() => {});
    try {
      const definition = readJson(folder, 'tokenizer.json');
      const config = readOptionalJson(folder, 'tokenizer_config.json');
      const encoder = new Encoder(definition, config);
      this.#encoder = encoder;
      this.kind = encoder.kind;
      this.vocabulary = vocabularyRange(definition);
      this.#foreign = languages && foreignTokens(definition, languages);
      const settings = readSettings({
        definition,
        config,
        specialTokens: readOptionalJson(folder, 'special_tokens_map.json'),
        idOf: (token) => encoder.idOf(token),
      });
      this.padId = settings.padId;
      this.paddingSide = settings.paddingSide;
      this.truncationSide = settings.truncationSide;
      const { prefix, suffix, prefixTypes, suffixTypes, type } = encoder.frame;
      this.#segmented = [...prefixTypes, type, ...suffixTypes].some((each) => each !== 0);
      if (prefix.length + suffix.length >= maxTokens) {
        throw new StartupError(
          `tokenizer.json adds ${prefix.length + suffix.length} special tokens to a text, and the model reads ` +
            `${maxTokens}: there is no room for the text`,
        );
      }
      for (const text of SELF_TEST_TEXTS)
        for (const side of ['right', 'left'] as const) this.encodeNow(text, side);
    } catch (error) {
      const reason = toError(error).message;
      throw new StartupError(`${folder}: the tokenizer cannot be loaded: ${reason}`, { cause: error });
    }
  }

  /**
   * Encodes one text in a later slice.
   * @param side where a text that is too long is cut; `truncationSide` by default
   */
  encode(text: string, side: Side = this.truncationSide): Promise<EncodedText> {
    return this.#enqueue(isShort(text) ? this.#short : this.#long, text, side);
  }

  /** As encode(), but behind all texts of encode(): a chunk of a batch has thousands. */
  encodeInBackground(text: string, side: Side = this.truncationSide): Promise<EncodedText> {
    return this.#enqueue(this.#background, text, side);
  }

  #enqueue(queue: Fifo, text: string, side: Side): Promise<EncodedText> {
    return new Promise((resolve, reject) => {
      queue.push({ text, side, ms: 0, resolve, reject });
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
      this.#longFirst = !this.#longFirst;
      while (now < end) {
        const pending = this.#next();
        if (!pending) return;
        const start = now;
        const done = this.#advance(pending, end);
        now = performance.now();
        pending.ms += now - start;
        if (done) this.#observe(pending.ms);
      }
      this.#schedule();
    });
  }

  /** The text whose turn it is: short and long ones take turns by slice, and those of the background wait for both. */
  #next(): Pending | undefined {
    const short = () => this.#short.shift();
    const long = () => (this.#startedLong ??= this.#long.shift());
    const urgent = this.#longFirst ? (long() ?? short()) : (short() ?? long());
    return urgent ?? (this.#startedBackground ??= this.#background.shift());
  }

  /** Continues a text until it is done or the time is over. @returns whether it is done */
  #advance(pending: Pending, end: number): boolean {
    const { text, side, resolve, reject } = pending;
    try {
      if (isShort(text)) resolve(this.encodeNow(text, side));
      else {
        pending.steps ??= this.#encoder.encodeInSteps(text, this.#limitOf(side));
        let step = pending.steps.next();
        while (step.done !== true && performance.now() < end) step = pending.steps.next();
        if (step.done !== true) return false;
        resolve(this.#frame(step.value, side));
      }
    } catch (error) {
      reject(toError(error));
    }
    if (this.#startedLong === pending) this.#startedLong = undefined;
    if (this.#startedBackground === pending) this.#startedBackground = undefined;
    return true;
  }

  /** Encodes one text at once. Truncates it, on the given side, to what the model reads. */
  encodeNow(text: string, side: Side = this.truncationSide): EncodedText {
    return this.#frame(this.#encoder.encode(text, this.#limitOf(side)), side);
  }

  /** Number of tokens after which encoding may stop; all are needed to keep the last ones. */
  #limitOf(side: Side): number {
    return side === 'right' ? this.#room : Infinity;
  }

  /** Most tokens of a text, without special tokens. */
  get #room(): number {
    const { prefix, suffix } = this.#encoder.frame;
    return this.#maxTokens - prefix.length - suffix.length;
  }

  /** Puts special tokens around those of a text that the model reads. */
  #frame(own: readonly number[], side: Side): EncodedText {
    const { prefix, suffix } = this.#encoder.frame;
    const room = this.#room;
    const start = side === 'right' ? 0 : Math.max(0, own.length - room);
    const count = Math.min(own.length, room);
    const ids = new Int32Array(prefix.length + count + suffix.length);
    ids.set(prefix);
    let unknown = 0;
    let blank = 0;
    for (let i = 0; i < count; i++) {
      const id = own[start + i] ?? 0;
      if (id === this.#encoder.unknownId) unknown++;
      else if (this.#encoder.blankIds.has(id)) blank++;
      ids[prefix.length + i] = id;
    }
    ids.set(suffix, prefix.length + count);
    return {
      ids,
      typeIds: this.#segmented ? this.#typeIds(count) : undefined,
      truncated: own.length > room,
      own: count,
      unknown,
      blank,
      foreign: this.#foreign === undefined ? 0 : countForeign(own, start, count, this.#foreign),
    };
  }

  /** Segment ids of a text with this many tokens, special ones around it included. */
  #typeIds(count: number): Int32Array | undefined {
    const { prefixTypes, suffixTypes, type } = this.#encoder.frame;
    const types = new Int32Array(prefixTypes.length + count + suffixTypes.length).fill(type);
    types.set(prefixTypes);
    types.set(suffixTypes, prefixTypes.length + count);
    return types.some((each) => each !== 0) ? types : undefined;
  }
}

/** Items taken from a Fifo before the others are moved up. */
const MAX_TAKEN = 1024;

/** A first-in-first-out queue that does not move the remaining items at every step. */
class Fifo {
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

/**
 * Larger than any tokenizer's file: one of 250,000 tokens has up to 35 MB, and takes ten times as much memory while it is
 * read.
 */
const MAX_FILE_BYTES = 128 * 2 ** 20;

function readJson(folder: string, file: string): JsonObject {
  try {
    const place = path.join(folder, file);
    const { size } = statSync(place);
    if (size > MAX_FILE_BYTES)
      throw new StartupError(`it has ${size} bytes; at most ${MAX_FILE_BYTES} are read`);
    const value = asRecord(parsePythonJson(readFileSync(place).toString()));
    if (!value) throw new StartupError('expected a JSON object');
    return value;
  } catch (error) {
    // Messages of JSON.parse quote the file, line ends included.
    const reason = toError(error).message.replace(/\s+/g, ' ');
    throw new StartupError(`${file} cannot be read: ${reason}`, { cause: error });
  }
}

/** @returns `{}` when there is no such file */
function readOptionalJson(folder: string, file: string): JsonObject {
  return existsSync(path.join(folder, file)) ? readJson(folder, file) : {};
}
