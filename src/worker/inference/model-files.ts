/** Finds the model folder and the ONNX file that a path means. */
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { StartupError } from '../../shared/runtime/startup-error.ts';

/** Usual names of the ONNX file; the first that exists is used, as by `amulet model pull`. */
const ONNX_FILES = ['onnx/model_quantized.onnx', 'onnx/model.onnx', 'model.onnx'];

/** Subfolders of a model folder that may contain ONNX files. */
const PLACES = ['', 'onnx'];

/** Most file names in a message. */
const MAX_NAMED = 12;

/** How messages introduce a model folder and its file: as settings, or as arguments of a command. */
export interface GivenBy {
  folder: string;
  file: string;
}

export const BY_SETTINGS: GivenBy = { folder: 'MODEL_DIR=', file: 'MODEL_FILE=' };
export const BY_ARGUMENTS: GivenBy = { folder: '', file: '--file ' };

/**
 * The model folder that a path means: the path itself, or for an ONNX file the folder around it that has config.json.
 * @returns `file`: the ONNX file that was named, relative to the folder
 * @throws StartupError
 */
export function findModelRoot(place: string, given: GivenBy = BY_SETTINGS): { root: string; file?: string } {
  const resolved = path.resolve(place);
  const found = statSync(resolved, { throwIfNoEntry: false });
  if (found?.isFile() && resolved.toLowerCase().endsWith('.onnx')) {
    const folder = path.dirname(resolved);
    const root = [folder, path.dirname(folder)].find(hasConfig);
    if (root === undefined) {
      throw new StartupError(`${place}: no config.json beside this ONNX file or in the folder above`);
    }
    return { root, file: path.relative(root, resolved) };
  }
  if (!found)
    throw new StartupError(`${given.folder}${place} does not exist: name a model folder (docs/models.md)`);
  if (!found.isDirectory()) {
    throw new StartupError(`${given.folder}${place} is neither a folder nor an ONNX file`);
  }
  if (!hasConfig(resolved)) {
    const parent = hasConfig(path.dirname(resolved)) ? `; did you mean ${path.dirname(place)}?` : '';
    throw new StartupError(
      `${place} has no config.json: a model folder has config.json, tokenizer.json and an ONNX file${parent}`,
    );
  }
  return { root: resolved };
}

/**
 * The ONNX file of a folder: the requested one, else the first of ONNX_FILES, else the only one.
 * @returns its path relative to the folder
 * @throws StartupError that names the ONNX files of the folder
 */
export function chooseOnnxFile(root: string, wanted: string | undefined): string {
  const present = PLACES.flatMap((place) => onnxFilesIn(root, place));
  const usual = ONNX_FILES.find((name) => isFile(path.join(root, name)));
  if (wanted !== undefined ? isFile(path.join(root, wanted)) : usual !== undefined)
    return wanted ?? usual ?? '';
  const [only, ...others] = present;
  if (wanted === undefined && only !== undefined && others.length === 0) return only;
  const which = wanted === undefined ? 'has no ONNX file with a usual name' : 'has no such ONNX file';
  const looked = `looked for ${wanted ?? ONNX_FILES.join(', ')}`;
  if (only === undefined) throw new StartupError(`${root} has no ONNX file: ${looked}`);
  const named = present.slice(0, MAX_NAMED).join(', ') + (present.length > MAX_NAMED ? ', …' : '');
  throw new StartupError(
    `${root} ${which}: ${looked}; there ${others.length === 0 ? 'is' : 'are'} ${named}. Choose one with MODEL_FILE, or --file of amulet model check`,
  );
}

function onnxFilesIn(root: string, place: string): string[] {
  const folder = path.join(root, place);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.onnx') && isFile(path.join(folder, name)))
    .sort()
    .map((name) => path.join(place, name));
}

const hasConfig = (folder: string): boolean => isFile(path.join(folder, 'config.json'));

export function isFile(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}
