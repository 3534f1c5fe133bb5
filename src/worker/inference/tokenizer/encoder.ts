/** Text to the ids of its own tokens, by a tokenizer.json: added tokens, normaliser, pre-tokenizer and model, as in Python. */
import { AddedTokens } from './added-tokens.ts';
import { checkDefinition } from './definition.ts';
import type { JsonObject } from './json.ts';
import { createModel } from './models/create-model.ts';
import type { TokenModel } from './models/model.ts';
import { createNormalizer, type Normalizer } from './normalizers.ts';
import { overrideNormalizer, overridePostProcessor, overridePreTokenizer } from './overrides.ts';
import { createFrame, type Frame } from './post-processor.ts';
import { createPreTokenizer, type PreTokenizer } from './pre-tokenizers.ts';
import { checkStart } from './start.ts';

export class Encoder {
  /** Type of the model, such as `WordPiece`. */
  readonly kind: string;
  /** Special tokens around a text. */
  readonly frame: Frame;
  readonly unknownId: number | undefined;
  readonly #normalizer: Normalizer | undefined;
  readonly #preTokenizer: PreTokenizer | undefined;
  readonly #model: TokenModel;
  readonly #added: AddedTokens;

  /**
   * @param definition tokenizer.json
   * @param config tokenizer_config.json
   * @throws StartupError that names the part that is not supported
   */
  constructor(definition: JsonObject, config: JsonObject = {}) {
    const { normalizer, preTokenizer, postProcessor, model, addedTokens } = checkDefinition(definition);
    const [normalizing, cutting] = [
      overrideNormalizer(normalizer, config),
      overridePreTokenizer(preTokenizer, config),
    ];
    this.kind = model.type as string;
    this.#normalizer = normalizing ? createNormalizer(normalizing) : undefined;
    this.#preTokenizer = cutting ? createPreTokenizer(cutting) : undefined;
    if (this.#preTokenizer?.readsStart) checkStart(normalizing);
    this.#model = createModel(model);
    this.unknownId = this.#model.unknownId;
    this.#added = new AddedTokens(
      addedTokens,
      this.#model.vocabulary,
      (text) => this.#normalizer?.normalize(text) ?? text,
      config.split_special_tokens === true,
    );
    this.frame = createFrame(overridePostProcessor(postProcessor, config, (token) => this.idOf(token)));
  }

  /** Id of a token; undefined when there is no such token. */
  idOf(token: string): number | undefined {
    return this.#added.ids.get(token) ?? this.#model.vocabulary.get(token);
  }

  /** Ids of the tokens for which `accepts` is true. */
  idsOf(accepts: (token: string) => boolean): Set<number> {
    const ids = new Set<number>();
    for (const tokens of [this.#model.vocabulary, this.#added.ids])
      for (const [token, id] of tokens) if (accepts(token)) ids.add(id);
    return ids;
  }

  /**
   * @param limit stops when there are more ids than this; those are then not all
   * @returns ids of the text's own tokens, without special ones around it
   */
  encode(text: string, limit = Infinity): number[] {
    const ids: number[] = [];
    this.#added.split(text.toWellFormed()).forEach((section, i) => {
      if (ids.length > limit) return;
      if (typeof section === 'number') ids.push(section);
      else this.#encodeSection(section, i === 0, ids, limit);
    });
    return ids;
  }

  #encodeSection(section: string, first: boolean, ids: number[], limit: number): void {
    const normalized = this.#normalizer ? this.#normalizer.normalize(section) : section;
    const atStart =
      first && this.#preTokenizer?.readsStart === true && (this.#normalizer?.keepsStart(section) ?? true);
    for (const [i, part] of this.#added.splitNormalized(normalized).entries()) {
      if (typeof part === 'number') {
        ids.push(part);
        continue;
      }
      const pieces = this.#preTokenizer ? this.#preTokenizer.split(part, atStart && i === 0) : [part];
      for (const piece of pieces) {
        if (ids.length > limit) return;
        this.#model.tokenize(piece, ids);
      }
    }
  }
}
