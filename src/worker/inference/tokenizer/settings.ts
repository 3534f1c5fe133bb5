/**
 * Reads padding and truncation from the files of a tokenizer, with the precedence of Transformers'
 * `PreTrainedTokenizerFast`: tokenizer_config.json (and the older special_tokens_map.json), then the sections of
 * tokenizer.json, then the defaults of the tokenizer's class.
 */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import { asRecord, contentOf, isId, type JsonObject } from './json.ts';

export type Side = 'right' | 'left';

export interface TokenizerSettings {
  /** Id of the padding token; undefined when no file names one. */
  padId: number | undefined;
  paddingSide: Side;
  truncationSide: Side;
}

export interface TokenizerFiles {
  /** tokenizer.json. */
  definition: JsonObject;
  /** tokenizer_config.json; `{}` when there is none. */
  config: JsonObject;
  /** special_tokens_map.json; `{}` when there is none. */
  specialTokens: JsonObject;
  /** Id of a token of the vocabulary or of the added tokens. */
  idOf: (token: string) => number | undefined;
}

/** Classes of Transformers that pad on the left by default. */
const LEFT_PADDING = new Set(['CodeLlama', 'Cohere', 'Gemma', 'Llama', 'XLNet']);

/** Default padding tokens of the classes of Transformers. */
const DEFAULT_PAD_TOKENS = ['[PAD]', '<pad>'];

/** @throws StartupError when a file names a side that does not exist */
export function readSettings({ definition, config, specialTokens, idOf }: TokenizerFiles): TokenizerSettings {
  const padding = asRecord(definition.padding);
  const truncation = asRecord(definition.truncation);
  const className = typeof config.tokenizer_class === 'string' ? config.tokenizer_class : '';
  const byClass: Side = LEFT_PADDING.has(className.replace(/Tokenizer(Fast)?$/, '')) ? 'left' : 'right';
  return {
    padId: padId(),
    paddingSide: side(config, 'padding_side') ?? side(padding, 'direction', 'padding.') ?? byClass,
    truncationSide:
      side(config, 'truncation_side') ?? side(truncation, 'direction', 'truncation.') ?? 'right',
  };

  function padId(): number | undefined {
    // Transformers reads special_tokens_map.json only beside a tokenizer_config.json without added_tokens_decoder.
    const map = config.added_tokens_decoder === undefined ? specialTokens : {};
    const named = contentOf(map.pad_token) ?? contentOf(config.pad_token);
    if (named !== undefined) return idOf(named);
    if (padding && typeof padding.pad_token === 'string')
      return idOf(padding.pad_token) ?? (isId(padding.pad_id) ? padding.pad_id : undefined);
    for (const token of DEFAULT_PAD_TOKENS) {
      const id = idOf(token);
      if (id !== undefined) return id;
    }
    return undefined;
  }
}

function side(section: JsonObject | undefined, key: string, where = ''): Side | undefined {
  const value = section?.[key];
  if (value === undefined || value === null) return undefined;
  // tokenizer.json writes Right and Left.
  const lower = typeof value === 'string' ? value.toLowerCase() : value;
  if (lower === 'left' || lower === 'right') return lower;
  throw new StartupError(`${where}${key} is ${JSON.stringify(value)}; expected left or right`);
}
