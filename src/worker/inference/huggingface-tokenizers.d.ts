/**
 * The part of @huggingface/tokenizers that is used here. The package's own declarations import each other without file
 * endings, which TypeScript does not resolve for an ES module.
 */
declare module '@huggingface/tokenizers' {
  export class Tokenizer {
    constructor(tokenizer: object, config: object);
    readonly normalizer: import('./normalizers.ts').Normalizer | null;
    readonly model: {
      readonly unk_token_id: number | undefined;
      /** By id. */
      readonly vocab: readonly string[];
    };
    token_to_id(token: string): number | undefined;
    encode(
      text: string,
      options: { return_token_type_ids: true },
    ): { ids: number[]; token_type_ids: number[] };
  }
}
