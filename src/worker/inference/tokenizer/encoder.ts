/** Encodes texts as a tokenizer.json says: added tokens, normaliser, pre-tokenizer and model, as in Python. */
import { AddedTokens } from './added-tokens.ts';
import { checkDefinition } from './definition.ts';
import type { JsonObject } from './json.ts';
import { createModel } from './models/create-model.ts';
import type { TokenModel } from './models/model.ts';
import { createNormalizers, normalizeAll, type Normalizer } from './normalizers.ts';
import { overrideNormalizer, overridePostProcessor, overridePreTokenizer } from './overrides.ts';
import { createFrame, type Frame } from './post-processor.ts';
import { createPreTokenizer, type PreTokenizer } from './pre-tokenizers.ts';
import { checkStart } from './start.ts';
import { BLOCK_UNITS, finish } from './steps.ts';

export class Encoder {
  /** Type of the model, such as `WordPiece`. */
  readonly kind: string;
  /** Special tokens around a text. */
  readonly frame: Frame;
  readonly unknownId: number | undefined;
  /** Ids of the tokens that stand for white space alone, such as SentencePiece's before each word. */
  readonly blankIds: ReadonlySet<number>;
  readonly #normalizers: readonly Normalizer[];
  readonly #preTokenizer: PreTokenizer | undefined;
  readonly #model: TokenModel;
  readonly #added: AddedTokens;

  /**
   * @param definition tokenizer.json
   * @param config tokenizer_config.json
   * @throws StartupError that names what is not supported
   */
  constructor(definition: JsonObject, config: JsonObject = {}) {
    const { normalizer, preTokenizer, postProcessor, model, addedTokens } = checkDefinition(definition);
    const [normalizing, cutting] = [
      overrideNormalizer(normalizer, config),
      overridePreTokenizer(preTokenizer, config),
    ];
    this.kind = model.type as string;
    this.#normalizers = createNormalizers(normalizing);
    this.#preTokenizer = cutting ? createPreTokenizer(cutting) : undefined;
    if (this.#preTokenizer?.readsStart) checkStart(normalizing);
    this.#model = createModel(model);
    this.unknownId = this.#model.unknownId;
    this.#added = new AddedTokens(
      addedTokens,
      this.#model.vocabulary,
      (text) => normalizeAll(this.#normalizers, text),
      config.split_special_tokens === true,
    );
    this.blankIds = blankIdsOf(model.vocab, this.#added.ids);
    this.frame = createFrame(overridePostProcessor(postProcessor, config, (token) => this.idOf(token)));
  }

  /** Id of a token; undefined when there is no such token. */
  idOf(token: string): number | undefined {
    return this.#added.ids.get(token) ?? this.#model.vocabulary.get(token);
  }

  /**
   * @param limit encoding stops after more ids than this
   * @returns token ids of the text, without special tokens around it
   */
  encode(text: string, limit = Infinity): number[] {
    return isShort(text) ? this.#encodeShort(text, limit) : finish(this.encodeInSteps(text, limit));
  }

  /** As encode(), in steps of a few milliseconds, for texts of any length. */
  *encodeInSteps(text: string, limit = Infinity): Generator<void, number[]> {
    if (isShort(text)) return this.#encodeShort(text, limit);
    const ids: number[] = [];
    let first = true;
    for (const section of this.#added.split(text.toWellFormed())) {
      if (ids.length > limit) break;
      if (typeof section === 'number') ids.push(section);
      else yield* this.#encodeSection(section, first, ids, limit);
      first = false;
    }
    return ids;
  }

  *#encodeSection(section: string, first: boolean, ids: number[], limit: number): Generator<void, void> {
    let normalized = section;
    let atStart = first && this.#preTokenizer?.readsStart === true;
    for (const normalizer of this.#normalizers) {
      atStart &&= normalizer.keepsStart(normalized);
      normalized = yield* normalizer.inSteps(normalized);
      yield;
    }
    let units = 0;
    for (const part of this.#added.splitNormalized(normalized)) {
      if (ids.length > limit) return;
      if (typeof part === 'number') ids.push(part);
      else {
        for (const piece of this.#preTokenize(part, atStart)) {
          if (ids.length > limit) return;
          if (this.#model.tokenizeInSteps && piece.length > BLOCK_UNITS)
            yield* this.#model.tokenizeInSteps(piece, ids, limit);
          else this.#model.tokenize(piece, ids);
          units += piece.length + PIECE_UNITS;
          if (units < BLOCK_UNITS) continue;
          units = 0;
          yield;
        }
      }
      atStart = false;
    }
  }

  /** As encodeInSteps() without steps, which would take a tenth of the time of a short text. */
  #encodeShort(text: string, limit: number): number[] {
    const ids: number[] = [];
    let first = true;
    for (const section of this.#added.split(text.toWellFormed())) {
      if (ids.length > limit) break;
      if (typeof section === 'number') ids.push(section);
      else {
        let normalized = section;
        let atStart = first && this.#preTokenizer?.readsStart === true;
        for (const normalizer of this.#normalizers) {
          atStart &&= normalizer.keepsStart(normalized);
          normalized = normalizer.normalize(normalized);
        }
        for (const part of this.#added.splitNormalized(normalized)) {
          if (typeof part === 'number') ids.push(part);
          else this.#encodePart(part, atStart, ids, limit);
          if (ids.length > limit) return ids;
          atStart = false;
        }
      }
      first = false;
    }
    return ids;
  }

  #encodePart(part: string, atStart: boolean, ids: number[], limit: number): void {
    const words = this.#preTokenizer?.words;
    if (words && this.#model.tokenizeWords)
      this.#model.tokenizeWords(part, words.mark, words.prepends(part, atStart), ids, limit);
    else
      for (const piece of this.#preTokenize(part, atStart)) {
        if (ids.length > limit) return;
        this.#model.tokenize(piece, ids);
      }
  }

  #preTokenize(part: string, atStart: boolean): Iterable<string> {
    return this.#preTokenizer ? this.#preTokenizer.split(part, atStart) : [part];
  }
}

/** White space, as itself or as SentencePiece writes it. */
const BLANK = /^[\s\u2581]+$/;

/** @param vocabulary of the model in tokenizer.json: ids by token, or a list of tokens */
function blankIdsOf(vocabulary: unknown, added: ReadonlyMap<string, number>): Set<number> {
  const ids = new Set<number>();
  const add = (token: string, id: number): void => {
    if (BLANK.test(token)) ids.add(id);
  };
  if (Array.isArray(vocabulary)) (vocabulary as [string][]).forEach(([token], id) => add(token, id));
  else for (const [token, id] of Object.entries(vocabulary as Record<string, number>)) add(token, id);
  for (const [token, id] of added) add(token, id);
  return ids;
}

/** Fixed cost of a piece, as the time of this many UTF-16 units. */
const PIECE_UNITS = 8;

/** Whether a text, whatever it contains, is encoded in a few milliseconds. Nearly all texts are. */
export function isShort(text: string): boolean {
  return text.length <= BLOCK_UNITS / 2;
}
