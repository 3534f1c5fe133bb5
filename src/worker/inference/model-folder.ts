/**
 * A model folder in Hugging Face layout: what its JSON files say, checked before anything is loaded.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { ApplyFunction } from '../../shared/contract.ts';
import { StartupError, toError } from '../../shared/errors.ts';
import { AMULET_JSON, readAmuletJson, type AmuletJson } from './amulet-json.ts';

export interface ModelFolder {
  folder: string;
  /** `model_type` of the config, such as `bert`. */
  family: string | undefined;
  /** Absolute path of the ONNX file. */
  onnxFile: string;
  /** id2label by index; may have holes. */
  id2label: ReadonlyMap<number, string>;
  problemType: z.infer<typeof configSchema>['problem_type'];
  /** Most tokens of one text, special tokens included. */
  maxTokens: number;
  /** Names these weights: 12 hex digits. */
  revision: string;
  /** What the folder asks of Amulet alone. */
  amulet: AmuletJson;
}

const configSchema = z.object({
  model_type: z.string().optional(),
  id2label: z
    .record(z.string().regex(/^\d+$/, 'id2label has a key that is no number'), z.string())
    .optional(),
  problem_type: z
    .enum(['single_label_classification', 'multi_label_classification', 'regression'])
    .nullish()
    .transform((value) => value ?? undefined),
  max_position_embeddings: z.int().positive().optional(),
  pad_token_id: z.int().nullish(),
});

const tokenizerConfigSchema = z.object({ model_max_length: z.number().positive().nullish() });

const MAX_REVISION = 64;

const manifestSchema = z.object({
  // Part of queue names and blob keys.
  revision: z
    .string()
    .max(MAX_REVISION)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/),
  files: z.record(z.string(), z.object({ sha256: z.string() })),
});

const ONNX_FILES = ['onnx/model_quantized.onnx', 'onnx/model.onnx', 'model.onnx'];

/** When neither the tokenizer nor the config names a limit. */
const FALLBACK_MAX_TOKENS = 512;

/** Two special tokens and one of the text's own. */
const MIN_TOKENS = 3;

/** Architectures that count positions from pad_token_id + 1, so that many position embeddings are never used. */
const OFFSET_POSITIONS = new Set([
  'roberta',
  'xlm-roberta',
  'camembert',
  'xlm-roberta-xl',
  'longformer',
  'mpnet',
  'data2vec-text',
  'ibert',
  'roberta-prelayernorm',
  'xmod',
]);

/**
 * Reads and checks a model folder.
 * @param onnxFile the ONNX file inside it; undefined: the first of ONNX_FILES that exists
 * @throws StartupError that names the file and what is wrong with it
 */
export function readModelFolder(folder: string, onnxFile: string | undefined): ModelFolder {
  const root = path.resolve(folder);
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory())
    throw new StartupError(`MODEL_DIR=${folder} does not exist`);
  const config = readJson(root, 'config.json', configSchema);
  const tokenizerConfig = readJson(root, 'tokenizer_config.json', tokenizerConfigSchema);
  const file = onnxFile ?? ONNX_FILES.find((candidate) => isFile(path.join(root, candidate)));
  if (file === undefined || !isFile(path.join(root, file))) {
    throw new StartupError(`${folder} has no ONNX file: looked for ${onnxFile ?? ONNX_FILES.join(', ')}`);
  }
  return {
    folder: root,
    family: config.model_type,
    onnxFile: path.join(root, file),
    id2label: new Map(Object.entries(config.id2label ?? {}).map(([id, label]) => [Number(id), label])),
    problemType: config.problem_type,
    maxTokens: maxTokens(config, tokenizerConfig),
    revision: verifyManifest(root) ?? sha256(...definingFiles(root, file)).slice(0, 12),
    amulet: readAmuletJson(root),
  };
}

function maxTokens(
  config: z.infer<typeof configSchema>,
  tokenizer: z.infer<typeof tokenizerConfigSchema>,
): number {
  const offset = OFFSET_POSITIONS.has(config.model_type ?? '') ? (config.pad_token_id ?? 1) + 1 : 0;
  const positions =
    config.max_position_embeddings === undefined ? Infinity : config.max_position_embeddings - offset;
  const limit = Math.min(positions, tokenizer.model_max_length ?? Infinity);
  // Tokenizers without a limit of their own say so with 1e30.
  const tokens = limit > 1e9 ? FALLBACK_MAX_TOKENS : Math.floor(limit);
  if (tokens < MIN_TOKENS)
    throw new StartupError(`the model reads ${tokens} tokens of a text, which leaves no room for one`);
  return tokens;
}

/**
 * The label of every output, and how logits become scores when a request does not say.
 *
 * The rule is that of Transformers' TextClassificationPipeline: regression → raw, multi-label or a single output →
 * sigmoid, else softmax.
 *
 * @param width number of outputs of the graph
 * @throws StartupError when the names in the config cannot be those of the outputs
 */
export function labelsOf(model: ModelFolder, width: number): { labels: string[]; apply: ApplyFunction } {
  const named = Math.max(-1, ...model.id2label.keys()) + 1;
  // Some names may be missing in between. Names of all labels from the first on, but fewer than outputs, are another model's.
  const complete = named > 0 && named === model.id2label.size;
  if (named > width || (complete && named < width)) {
    throw new StartupError(
      `${model.folder}: config.json names ${named} labels, but the graph has ${width} outputs`,
    );
  }
  const labels = Array.from({ length: width }, (_, id) => model.id2label.get(id) ?? `LABEL_${id}`);
  if (model.problemType === 'regression') return { labels, apply: 'none' };
  const sigmoid = model.problemType === 'multi_label_classification' || width === 1;
  return { labels, apply: sigmoid ? 'sigmoid' : 'softmax' };
}

/**
 * Compares the files with manifest.json, if the folder has one.
 * @returns its revision
 */
function verifyManifest(root: string): string | undefined {
  if (!isFile(path.join(root, 'manifest.json'))) return undefined;
  const manifest = readJson(root, 'manifest.json', manifestSchema);
  for (const [name, expected] of Object.entries(manifest.files)) {
    const file = path.join(root, name);
    if (!isFile(file)) throw new StartupError(`${file} is missing, but manifest.json lists it`);
    if (sha256(file) !== expected.sha256) {
      throw new StartupError(`${file} is damaged: its SHA-256 is not the one in manifest.json`);
    }
  }
  return AMULET_JSON in manifest.files ? manifest.revision : withOwnSettings(root, manifest.revision);
}

/** The revision of a manifest that knows nothing of the folder's amulet.json, which decides about results, too. */
function withOwnSettings(root: string, revision: string): string {
  const file = path.join(root, AMULET_JSON);
  return isFile(file) ? `${revision.slice(0, MAX_REVISION - 13)}-${sha256(file).slice(0, 12)}` : revision;
}

function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}

/** All that decides what a text's scores are. */
function definingFiles(root: string, file: string): string[] {
  const settings = ['config.json', 'tokenizer.json', 'tokenizer_config.json', AMULET_JSON].map((name) =>
    path.join(root, name),
  );
  return [...settings.filter(isFile), ...weightFiles(path.join(root, file))];
}

/** The ONNX file and those that hold its weights when they lie outside: model.onnx_data, model.onnx_data_1, model.onnx.data. */
export function weightFiles(onnxFile: string): string[] {
  const [folder, name] = [path.dirname(onnxFile), path.basename(onnxFile)];
  const outside = readdirSync(folder).filter(
    (other) => /^[._]data/.test(other.slice(name.length)) && other.startsWith(name),
  );
  return [onnxFile, ...outside.sort().map((other) => path.join(folder, other))];
}

/** Of the files one after the other. In pieces: weights outside the graph may be larger than Node reads at once (2 GiB). */
function sha256(...files: string[]): string {
  const hash = createHash('sha256');
  const piece = Buffer.alloc(1 << 20);
  for (const file of files) {
    const handle = openSync(file, 'r');
    try {
      for (let size; (size = readSync(handle, piece)) > 0;) hash.update(piece.subarray(0, size));
    } finally {
      closeSync(handle);
    }
  }
  return hash.digest('hex');
}

function readJson<S extends z.ZodType>(root: string, name: string, schema: S): z.output<S> {
  const file = path.join(root, name);
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : toError(error).message;
    throw new StartupError(`${file} cannot be used: ${reason}`, { cause: error });
  }
}
