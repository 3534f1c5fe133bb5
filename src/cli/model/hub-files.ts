/** Chooses the files of a repository that make a model folder, and refuses unsafe names. Pure. */
import { posix } from 'node:path';
import { CliError, EXIT } from '../terminal/exit.ts';

/** A file of a repository at one commit. */
export interface HubFile {
  /** With slashes, from the root of the repository. */
  path: string;
  bytes: number;
  /** SHA-256 for files in large-file storage, git's SHA-1 of a blob for the others. */
  hash: { algorithm: 'sha256' | 'git-blob'; hex: string };
}

/** Default model files, in a worker's order of choice; without any of these, the only ONNX file. */
const ONNX_FILES = ['onnx/model_quantized.onnx', 'onnx/model.onnx', 'model.onnx'];
/** Models have a few files of weights, of 2 GB each. */
const MAX_FILES = 1000;
/** Names to list in a message. */
const MAX_SHOWN = 30;
const REQUIRED = ['config.json', 'tokenizer.json'];
const OPTIONAL = [
  'tokenizer_config.json',
  'special_tokens_map.json',
  'amulet.json',
  'README.md',
  'LICENSE',
  'LICENSE.txt',
  'LICENSE.md',
  'NOTICE',
];

/**
 * @param repository its name, for messages
 * @param wanted ONNX file, if named
 * @returns the files to download, and which of them is the model
 * @throws CliError, with advice, when a file that a worker needs is missing
 */
export function chooseFiles(
  repository: string,
  files: readonly HubFile[],
  wanted: string | undefined,
): { model: HubFile; files: HubFile[] } {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const onnx = files.filter(({ path }) => path.endsWith('.onnx')).map(({ path }) => path);
  const usual = ONNX_FILES.find((path) => byPath.has(path));
  const [only, ...others] = onnx.filter((path) => /^(?:onnx\/)?[^/]+$/.test(path));
  const model = byPath.get(wanted ?? usual ?? (others.length === 0 ? only : undefined) ?? '');
  if (!model) throw noModel(repository, onnx, wanted);
  const missing = REQUIRED.filter((path) => !byPath.has(path));
  if (missing.length > 0) {
    throw new CliError(EXIT.failed, `${repository} has no ${missing.join(', no ')}`, exportHint(repository));
  }
  // model.onnx keeps weights beyond 2 GB in model.onnx_data, model.onnx_data_1, … or model.onnx.data.
  const data = files.filter(
    ({ path }) => path.startsWith(`${model.path}_data`) || path === `${model.path}.data`,
  );
  const beside = [...REQUIRED, ...OPTIONAL].flatMap((path) => byPath.get(path) ?? []);
  const chosen = [...beside, model, ...data];
  if (chosen.length > MAX_FILES) {
    throw new CliError(
      EXIT.failed,
      `${repository} has more than ${MAX_FILES} files of weights for ${model.path}`,
    );
  }
  for (const { path } of chosen) refuseUnsafeName(repository, path);
  refuseCollisions(repository, chosen);
  return { model, files: chosen };
}

/** @throws CliError for names that are one file on some file systems: they differ in case or in Unicode form only */
export function refuseCollisions(repository: string, files: readonly HubFile[]): void {
  const names = new Map<string, string>();
  for (const { path } of files) {
    const folded = path.normalize('NFC').toLowerCase();
    const other = names.get(folded);
    if (other !== undefined) {
      const both = [other, path].map((name) => JSON.stringify(name)).join(' and ');
      throw new CliError(EXIT.failed, `${repository} has ${both}, which are one file on some disks`);
    }
    names.set(folded, path);
  }
}

/**
 * Finds the files of weights that a graph names.
 * @param locations as in the graph, relative to its folder
 * @throws CliError for a file that the repository lacks, or a path that leads out of the folder
 */
export function chooseExternalFiles(
  repository: string,
  files: readonly HubFile[],
  model: HubFile,
  locations: readonly string[],
): HubFile[] {
  return locations.map((location) => {
    const path = posix.join(posix.dirname(model.path), location);
    refuseUnsafeName(repository, location);
    const found = files.find((file) => file.path === path);
    if (found) return found;
    throw new CliError(EXIT.failed, `${repository} has no ${path}, where ${model.path} has its weights`);
  });
}

/** Limits of Linux and macOS, for a path and for each name in it. */
const MAX_PATH_BYTES = 1024;
const MAX_NAME_BYTES = 255;
/** Control and format characters (text direction, zero width), lone surrogates, separators; characters that Windows forbids. */
const FORBIDDEN_CHARACTERS = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\\:*?"<>|]/u;
/** Devices of Windows, whatever their extension. */
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;
/** Files that staging.ts adds. */
const RESERVED = /^(manifest|pull)\.json$/i;

/** Refuses a name that leads out of the folder, is not allowed on every system, or is not what it looks like. */
function refuseUnsafeName(repository: string, path: string): void {
  const unsafe = path
    .split('/')
    .some(
      (part) =>
        /^\.{0,2}$|[. ]$|^ /.test(part) || DEVICE.test(part) || Buffer.byteLength(part) > MAX_NAME_BYTES,
    );
  if (
    unsafe ||
    FORBIDDEN_CHARACTERS.test(path) ||
    RESERVED.test(path) ||
    Buffer.byteLength(path) > MAX_PATH_BYTES
  ) {
    throw new CliError(
      EXIT.failed,
      `${repository} has a file with an unsafe name: ${JSON.stringify(path.slice(0, 300))}`,
    );
  }
}

function noModel(repository: string, onnx: string[], wanted: string | undefined): CliError {
  if (onnx.length === 0) {
    return new CliError(EXIT.failed, `${repository} has no ONNX file`, exportHint(repository));
  }
  const message =
    wanted === undefined
      ? `${repository} has none of ${ONNX_FILES.join(', ')}`
      : `${repository} has no file ${wanted}`;
  return new CliError(EXIT.failed, message, [
    'Choose one of its ONNX files with --file:',
    ...onnx.slice(0, MAX_SHOWN).map((path) => `  ${path}`),
    ...(onnx.length > MAX_SHOWN ? [`  and ${onnx.length - MAX_SHOWN} more`] : []),
  ]);
}

function exportHint(repository: string): string[] {
  const name = repository.slice(repository.lastIndexOf('/') + 1);
  return [
    'To convert a checkpoint into a model folder (see models/prepare/README.md):',
    `  cd models/prepare && python prepare.py ${repository} ../${name} --texts texts.txt`,
  ];
}
