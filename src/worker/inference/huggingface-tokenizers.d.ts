/**
 * The part of @huggingface/tokenizers that is used here. The package's own declarations import each other without file
 * endings, which TypeScript does not resolve for an ES module.
 */
declare module '@huggingface/tokenizers' {
  /** Used by tests alone, as a second opinion. */
  export class Tokenizer {
    constructor(tokenizer: object, config: object);
    encode(
      text: string,
      options: { return_token_type_ids: true },
    ): { ids: number[]; token_type_ids: number[] };
  }
  export class SplitPreTokenizer {
    constructor(config: { pattern: { Regex: string }; behavior: string });
    /** The pattern as JavaScript's, with the flags g and u. */
    readonly pattern: RegExp | null;
  }
}
