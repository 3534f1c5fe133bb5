/**
 * Checks tokenizer.json: it may contain every type and field that was compared with Python
 * (test/fixtures/goldens/tokenizers.json.gz). Anything else is rejected by name, unless its value switches it off.
 */
import { StartupError } from '../../../shared/runtime/startup-error.ts';
import { asRecord, isId, type JsonObject } from './json.ts';

interface Field {
  expected: string;
  accepts: (value: unknown) => boolean;
  /** Python does not load the file without it. */
  required?: true;
}

type Types = Readonly<Record<string, Readonly<Record<string, Field>>>>;

const field = (expected: string, accepts: Field['accepts']): Field => ({ expected, accepts });
const required = (definition: Field): Field => ({ ...definition, required: true });

const FLAG = field('true or false', (value) => typeof value === 'boolean');
const FLAG_OR_NULL = field('true, false or null', (value) => value === null || typeof value === 'boolean');
const TEXT = field('a string', (value) => typeof value === 'string');
const TEXT_OR_NULL = field('a string or null', (value) => value === null || typeof value === 'string');
const CHARACTER = field(
  'one character',
  (value) => typeof value === 'string' && Array.from(value).length === 1,
);
const COUNT = field('a positive number', (value) => isId(value) && value > 0);
const ID_OR_NULL = field('an id or null', (value) => value === null || isId(value));
const OBJECT = field('an object', (value) => asRecord(value) !== undefined);
const LIST = field('a list', Array.isArray);
const NOTHING = field('null or 0: it makes tokens random', (value) => value === null || value === 0);
const oneOf = (...values: readonly unknown[]): Field =>
  field(`one of ${values.map((value) => JSON.stringify(value)).join(', ')}`, (value) =>
    values.includes(value),
  );
const BEHAVIOR = oneOf('Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous');
const TOKEN_AND_ID = required(
  field(
    'a token and its id',
    (value) => Array.isArray(value) && typeof value[0] === 'string' && isId(value[1]),
  ),
);

const NORMALIZERS: Types = {
  BertNormalizer: {
    clean_text: required(FLAG),
    handle_chinese_chars: required(FLAG),
    strip_accents: FLAG_OR_NULL,
    lowercase: required(FLAG),
  },
  NFC: {},
  NFD: {},
  NFKC: {},
  NFKD: {},
  Lowercase: {},
  Strip: { strip_left: required(FLAG), strip_right: required(FLAG) },
  StripAccents: {},
  Replace: { pattern: required(OBJECT), content: required(TEXT) },
  Prepend: { prepend: required(TEXT) },
  Nmt: {},
  Precompiled: { precompiled_charsmap: TEXT_OR_NULL },
  ByteLevel: {},
  Sequence: { normalizers: required(LIST) },
};

const BYTE_LEVEL = { add_prefix_space: required(FLAG), trim_offsets: required(FLAG), use_regex: FLAG };

const PRE_TOKENIZERS: Types = {
  BertPreTokenizer: {},
  Whitespace: {},
  WhitespaceSplit: {},
  Punctuation: { behavior: BEHAVIOR },
  Split: { pattern: required(OBJECT), behavior: required(BEHAVIOR), invert: required(FLAG) },
  ByteLevel: BYTE_LEVEL,
  Metaspace: {
    replacement: required(CHARACTER),
    prepend_scheme: oneOf('always', 'first', 'never'),
    add_prefix_space: FLAG,
    split: FLAG_OR_NULL,
    str_rep: TEXT_OR_NULL,
  },
  Digits: { individual_digits: required(FLAG) },
  CharDelimiterSplit: { delimiter: required(CHARACTER) },
  FixedLength: { length: COUNT },
  Sequence: { pretokenizers: required(LIST) },
};

const POST_PROCESSORS: Types = {
  TemplateProcessing: { single: required(LIST), pair: LIST, special_tokens: OBJECT },
  BertProcessing: { sep: TOKEN_AND_ID, cls: TOKEN_AND_ID },
  RobertaProcessing: { sep: TOKEN_AND_ID, cls: TOKEN_AND_ID, trim_offsets: FLAG, add_prefix_space: FLAG },
  ByteLevel: BYTE_LEVEL,
  Sequence: { processors: required(LIST) },
};

const VOCABULARY = required(
  field('an object of tokens and their ids', (value) =>
    Object.values(asRecord(value) ?? { x: null }).every(isId),
  ),
);
const SCORED_VOCABULARY = required(
  field('a list of tokens with their scores', (value) => isScored(value) && value.length > 0),
);
const MERGES = required(field('a list of pairs', (value) => Array.isArray(value) && value.every(isMerge)));

const MODELS: Types = {
  WordPiece: {
    vocab: VOCABULARY,
    unk_token: TEXT,
    continuing_subword_prefix: TEXT,
    max_input_chars_per_word: field('a number', isId),
  },
  WordLevel: { vocab: VOCABULARY, unk_token: TEXT },
  BPE: {
    vocab: VOCABULARY,
    merges: MERGES,
    dropout: NOTHING,
    unk_token: TEXT_OR_NULL,
    continuing_subword_prefix: TEXT_OR_NULL,
    end_of_word_suffix: TEXT_OR_NULL,
    fuse_unk: FLAG_OR_NULL,
    byte_fallback: FLAG_OR_NULL,
    ignore_merges: FLAG_OR_NULL,
  },
  Unigram: { vocab: SCORED_VOCABULARY, unk_id: ID_OR_NULL, byte_fallback: FLAG_OR_NULL },
};

const ADDED_TOKEN = {
  id: field('an id', isId),
  content: required(TEXT),
  single_word: required(FLAG),
  lstrip: required(FLAG),
  rstrip: required(FLAG),
  normalized: required(FLAG),
  special: required(FLAG),
};

const SECTIONS = {
  version: oneOf('1.0'),
  truncation: field('an object or null', (value) => value === null || asRecord(value) !== undefined),
  padding: field('an object or null', (value) => value === null || asRecord(value) !== undefined),
  added_tokens: LIST,
  normalizer: field('an object or null', isPart),
  pre_tokenizer: field('an object or null', isPart),
  post_processor: field('an object or null', isPart),
  // For text from tokens, which nothing here needs.
  decoder: field('anything', () => true),
  model: required(OBJECT),
};

/** A tokenizer.json with supported sections only. */
export interface Definition {
  normalizer: JsonObject | null;
  preTokenizer: JsonObject | null;
  postProcessor: JsonObject | null;
  model: JsonObject;
  addedTokens: readonly JsonObject[];
}

/** @throws StartupError that names the first type, field or value that is not supported */
export function checkDefinition(definition: JsonObject): Definition {
  checkFields(definition, SECTIONS, 'tokenizer.json');
  const addedTokens = (definition.added_tokens ?? []) as unknown[];
  for (const token of addedTokens) {
    if (!asRecord(token))
      throw new StartupError('tokenizer.json: added_tokens has an entry that is not an object');
    checkFields(token as JsonObject, ADDED_TOKEN, 'tokenizer.json: an added token');
  }
  return {
    normalizer: part(definition.normalizer, NORMALIZERS, 'normalizer', 'normalizers'),
    preTokenizer: part(definition.pre_tokenizer, PRE_TOKENIZERS, 'pre_tokenizer', 'pretokenizers'),
    postProcessor: part(definition.post_processor, POST_PROCESSORS, 'post_processor', 'processors'),
    model: model(asRecord(definition.model) ?? {}),
    addedTokens: addedTokens as JsonObject[],
  };
}

function part(value: unknown, types: Types, section: string, children: string): JsonObject | null {
  const config = asRecord(value);
  if (!config) return null;
  checkPart(config, types, section);
  if (config.add_prefix_space === false && config.type === 'Metaspace' && config.prepend_scheme !== 'never') {
    throw new StartupError(
      `tokenizer.json: ${section} Metaspace: add_prefix_space is false, which needs prepend_scheme "never"`,
    );
  }
  if (config.type === 'Sequence') {
    for (const child of config[children] as unknown[]) {
      if (!part(child, types, section, children))
        throw new StartupError(`tokenizer.json: ${section} Sequence has an entry that is not an object`);
    }
  }
  return config;
}

/** Adds the type of the model, which files of the first versions omit. */
function model(config: JsonObject): JsonObject {
  const type =
    config.type ??
    (config.merges !== undefined
      ? 'BPE'
      : Array.isArray(config.vocab)
        ? 'Unigram'
        : config.continuing_subword_prefix !== undefined
          ? 'WordPiece'
          : 'WordLevel');
  const typed = { ...config, type };
  checkPart(typed, MODELS, 'model');
  return typed;
}

function checkPart(config: JsonObject, types: Types, section: string): void {
  const { type } = config;
  if (typeof type !== 'string') throw new StartupError(`tokenizer.json: ${section} has no type`);
  if (!Object.hasOwn(types, type))
    throw new StartupError(`tokenizer.json uses ${section} ${type}, which is not supported`);
  checkFields(config, { ...types[type], type: TEXT }, `tokenizer.json: ${section} ${type}`);
}

function checkFields(config: JsonObject, fields: Readonly<Record<string, Field>>, where: string): void {
  for (const [name, value] of Object.entries(config)) {
    const known = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (known) {
      if (!known.accepts(value))
        throw new StartupError(`${where}: ${name} is ${shown(value)}; expected ${known.expected}`);
    } else if (!isNeutral(value)) {
      throw new StartupError(`${where}: ${name} is ${shown(value)}, which is not supported`);
    }
  }
  for (const [name, { required: isRequired }] of Object.entries(fields)) {
    if (isRequired && config[name] === undefined) throw new StartupError(`${where}: ${name} is missing`);
  }
}

/** Whether an unknown field with this value has no effect. */
function isNeutral(value: unknown): boolean {
  return (
    value === null ||
    value === false ||
    value === 0 ||
    value === '' ||
    (Array.isArray(value) && value.length === 0)
  );
}

function isPart(value: unknown): boolean {
  return value === null || asRecord(value) !== undefined;
}

function isScored(value: unknown): value is unknown[] {
  return (
    Array.isArray(value) &&
    value.every(
      (entry) => Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number',
    )
  );
}

function isMerge(value: unknown): boolean {
  return (
    typeof value === 'string' ||
    (Array.isArray(value) && value.length === 2 && value.every((token) => typeof token === 'string'))
  );
}

/** A value in one line, cut off. */
function shown(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
