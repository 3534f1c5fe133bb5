/**
 * Applies options of tokenizer_config.json that override tokenizer.json, as Transformers' classes do after loading it. Only options
 * that the file states count: without them tokenizer.json holds, not the default of the class.
 */
import { contentOf, type JsonObject } from './json.ts';

/** Classes that recreate their BertNormalizer. */
const BERT_CLASSES = new Set([
  'Bert',
  'ConvBert',
  'DistilBert',
  'Electra',
  'Funnel',
  'LayoutLM',
  'LayoutLMv2',
  'Lxmert',
  'MPNet',
  'MobileBert',
  'Splinter',
  'SqueezeBert',
]);

const BERT_OPTIONS = {
  do_lower_case: 'lowercase',
  strip_accents: 'strip_accents',
  tokenize_chinese_chars: 'handle_chinese_chars',
} as const;

/** Classes that recreate their post-processor from bos_token and eos_token. */
const BOS_CLASSES = new Set(['CodeLlama', 'Cohere', 'Gemma', 'Llama']);

/** Class of the tokenizer without its ending: `Bert` for `BertTokenizerFast`. */
function familyOf(config: JsonObject): string {
  return typeof config.tokenizer_class === 'string'
    ? config.tokenizer_class.replace(/Tokenizer(Fast)?$/, '')
    : '';
}

/** @param config tokenizer_config.json */
export function overrideNormalizer(normalizer: JsonObject | null, config: JsonObject): JsonObject | null {
  if (normalizer?.type !== 'BertNormalizer' || !BERT_CLASSES.has(familyOf(config))) return normalizer;
  const changes = Object.entries(BERT_OPTIONS).flatMap(([option, name]) =>
    typeof config[option] === 'boolean' ? [[name, config[option]] as const] : [],
  );
  return { ...normalizer, ...Object.fromEntries(changes) };
}

/** @param config tokenizer_config.json */
export function overridePreTokenizer(preTokenizer: JsonObject | null, config: JsonObject): JsonObject | null {
  if (preTokenizer?.type !== 'ByteLevel' || typeof config.add_prefix_space !== 'boolean') return preTokenizer;
  return { ...preTokenizer, add_prefix_space: config.add_prefix_space };
}

/**
 * @param config tokenizer_config.json
 * @param idOf id of a token
 */
export function overridePostProcessor(
  postProcessor: JsonObject | null,
  config: JsonObject,
  idOf: (token: string) => number | undefined,
): JsonObject | null {
  const states = typeof config.add_bos_token === 'boolean' || typeof config.add_eos_token === 'boolean';
  if (!states || !BOS_CLASSES.has(familyOf(config))) return postProcessor;
  const special = (name: string, added: boolean) => {
    const token = contentOf(config[name]);
    const id = token === undefined ? undefined : idOf(token);
    return added && token !== undefined && id !== undefined ? [{ token, id }] : [];
  };
  const before = special('bos_token', config.add_bos_token !== false);
  const behind = special('eos_token', config.add_eos_token === true);
  const piece = ({ token }: { token: string }) => ({ SpecialToken: { id: token, type_id: 0 } });
  return {
    type: 'TemplateProcessing',
    single: [...before.map(piece), { Sequence: { id: 'A', type_id: 0 } }, ...behind.map(piece)],
    special_tokens: Object.fromEntries([...before, ...behind].map(({ token, id }) => [token, { ids: [id] }])),
  };
}
