/**
 * A model folder in Hugging Face layout: checks its files before anything is loaded, and computes the revision of the weights.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { NotOnnx, readOnnxGraph, type OnnxGraph } from '../../shared/onnx/graph.ts';
import { AMULET_JSON, readAmuletJson, requireFit, type AmuletJson } from './amulet-json.ts';
import type { Answering } from './answer.ts';
import { BY_SETTINGS, chooseOnnxFile, findModelRoot, isFile, type GivenBy } from './model-files.ts';
import { readJson, readModelConfig, type ModelConfig } from './model-config.ts';

export interface ModelFolder extends ModelConfig {
  folder: string;
  /** Absolute path of the ONNX file. */
  onnxFile: string;
  /** Absolute paths of the ONNX file and of the files with its external weights. */
  weightFiles: string[];
  /** The graph of the ONNX file; undefined when only ONNX Runtime can read it (its own format, or a damaged file). */
  graph: OnnxGraph | undefined;
  /** Name of these weights: 12 hex digits, or the one in the manifest. */
  revision: string;
  /** Settings of amulet.json. */
  amulet: AmuletJson;
}

const MAX_REVISION = 64;

const manifestSchema = z.object({
  // Part of queue names and blob keys.
  revision: z
    .string()
    .max(MAX_REVISION)
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
      'must be ASCII letters, digits, dots, hyphens and underscores, the first a letter or a digit',
    ),
  files: z.record(z.string(), z.object({ sha256: z.string() })),
});

/**
 * Reads and checks a model folder.
 * @param place the folder, or the ONNX file in it
 * @param onnxFile the ONNX file inside the folder; undefined: the one that `place` names, or that chooseOnnxFile finds
 * @throws StartupError that names the file and what is wrong with it
 */
export function readModelFolder(
  place: string,
  onnxFile: string | undefined,
  given: GivenBy = BY_SETTINGS,
): ModelFolder {
  const { root, file: named } = findModelRoot(place, given);
  if (
    onnxFile !== undefined &&
    named !== undefined &&
    path.resolve(root, onnxFile) !== path.join(root, named)
  )
    throw new StartupError(
      `${given.folder}${place} names an ONNX file, and ${given.file}${onnxFile} another`,
    );
  const config = readModelConfig(root);
  const file = path.join(root, chooseOnnxFile(root, onnxFile ?? named));
  const graph = readGraph(file);
  const beside = weightFilesBeside(file);
  const outside = externalFiles(file, graph).filter((other) => !beside.includes(other));
  const weightFiles = [file, ...beside, ...outside];
  return {
    ...config,
    folder: root,
    onnxFile: file,
    weightFiles,
    graph,
    revision: revisionOf(root, weightFiles, outside),
    amulet: readAmuletJson(root),
  };
}

/** The graph; undefined for a file that cannot be parsed here: ONNX Runtime reports what is wrong with it. */
function readGraph(file: string): OnnxGraph | undefined {
  try {
    return readOnnxGraph(file);
  } catch (error) {
    if (error instanceof NotOnnx) return undefined;
    throw new StartupError(`${file} cannot be loaded: ${(error as Error).message}`, { cause: error });
  }
}

/** The files that the graph reads weights from. @throws StartupError for a file that is missing or outside the folder */
function externalFiles(onnxFile: string, graph: OnnxGraph | undefined): string[] {
  const folder = path.dirname(onnxFile);
  const files = (graph?.externalData ?? []).map((location) => {
    const file = path.resolve(folder, location);
    const inside = file.startsWith(`${folder}${path.sep}`);
    if (location === '' || path.isAbsolute(location) || /^[A-Za-z]:/.test(location) || !inside) {
      throw new StartupError(
        `${onnxFile} cannot be loaded: its weights lie in ${JSON.stringify(location)}, outside of its folder`,
      );
    }
    if (!isFile(file)) {
      throw new StartupError(
        `${onnxFile} cannot be loaded: its weights lie in ${location}, which is missing`,
      );
    }
    return file;
  });
  return [...new Set(files)].sort();
}

/** The label of every output, and how logits become scores and choices of labels when a request does not say. */
export type ModelAnswering = Pick<Answering, 'labels' | 'apply' | 'temperature' | 'thresholds'> & {
  labels: string[];
};

/**
 * How the model answers: by its config.json and amulet.json.
 *
 * The rule is that of Transformers' TextClassificationPipeline: regression → raw, multi-label or a single output →
 * sigmoid, else softmax.
 *
 * @param width number of outputs of the graph
 * @throws StartupError when the names in the config cannot be those of the outputs, or amulet.json does not fit them
 */
export function labelsOf(model: ModelFolder, width: number): ModelAnswering {
  const named = Math.max(-1, ...model.id2label.keys()) + 1;
  // Some names may be missing in between. But names without gaps, and fewer than outputs, belong to another model.
  const complete = named > 0 && named === model.id2label.size;
  if (named > width || (complete && named < width)) {
    throw new StartupError(
      `${model.folder}: config.json names ${named} labels, but the graph has ${width} outputs`,
    );
  }
  const labels = Array.from({ length: width }, (_, id) => model.id2label.get(id) ?? `LABEL_${id}`);
  const sigmoid = model.problemType === 'multi_label_classification' || width === 1;
  const apply = model.problemType === 'regression' ? 'none' : sigmoid ? 'sigmoid' : 'softmax';
  requireFit(model.folder, model.amulet, { labels, apply });
  const { temperature, thresholds } = model.amulet;
  return { labels, apply, temperature, thresholds };
}

/**
 * The revision of the manifest, after comparing the files with it; without a manifest, the start of the SHA-256 of all files that
 * determine the results.
 * @param outside weight files whose names earlier versions did not know, so that their manifests need not list them
 */
function revisionOf(root: string, weightFiles: string[], outside: string[]): string {
  const inRoot = (names: string[]) => names.map((name) => path.join(root, name)).filter(isFile);
  const manifest = verifyManifest(root);
  if (manifest === undefined) {
    const settings = inRoot(['config.json', 'tokenizer.json', 'tokenizer_config.json', AMULET_JSON]);
    return sha256(...settings, ...weightFiles).slice(0, 12);
  }
  const listed = new Set(Object.keys(manifest.files).map((name) => path.join(root, name)));
  const settings = inRoot([AMULET_JSON]);
  const known = manifest.files[AMULET_JSON]?.sha256;
  const asListed = known === undefined ? settings.length === 0 : sha256(...settings) === known;
  const other = [...(asListed ? [] : settings), ...outside.filter((file) => !listed.has(file))];
  if (asListed && other.length === 0) return manifest.revision;
  return `${manifest.revision.slice(0, MAX_REVISION - 13)}-${sha256(...other).slice(0, 12)}`;
}

/** Compares the files with manifest.json, if the folder has one. amulet.json holds settings: they may be changed. */
function verifyManifest(root: string): z.infer<typeof manifestSchema> | undefined {
  if (!isFile(path.join(root, 'manifest.json'))) return undefined;
  const manifest = readJson(root, 'manifest.json', manifestSchema);
  for (const [name, expected] of Object.entries(manifest.files)) {
    if (name === AMULET_JSON) continue;
    const file = path.join(root, name);
    if (!isFile(file)) throw new StartupError(`${file} is missing, but manifest.json lists it`);
    if (sha256(file) !== expected.sha256) {
      throw new StartupError(`${file} is damaged: its SHA-256 is not the one in manifest.json`);
    }
  }
  return manifest;
}

/** External weights by their usual names: model.onnx_data, model.onnx_data_1, model.onnx.data. */
function weightFilesBeside(onnxFile: string): string[] {
  const [folder, name] = [path.dirname(onnxFile), path.basename(onnxFile)];
  return readdirSync(folder)
    .filter((other) => /^[._]data/.test(other.slice(name.length)) && other.startsWith(name))
    .sort()
    .map((other) => path.join(folder, other));
}

/** SHA-256 of the concatenated files, read in pieces: weights may be larger than Node reads at once (2 GiB). */
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
