/** Which files of a repository make a model folder. Pure. */
import { posix } from 'node:path';
import { CliError, EXIT } from '../exit.ts';

/** A file of a repository at one commit. */
export interface HubFile {
  /** With slashes, from the root of the repository. */
  path: string;
  bytes: number;
  /** What its bytes hash to: SHA-256 of those in large-file storage, git's SHA-1 of a blob for the others. */
  hash: { algorithm: 'sha256' | 'git-blob'; hex: string };
}

/** The model file that is taken when none is named, as a worker chooses it: one of these, else the only one. */
const ONNX_FILES = ['onnx/model_quantized.onnx', 'onnx/model.onnx', 'model.onnx'];
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
 * @param repository name of it, for messages
 * @param wanted ONNX file that was asked for
 * @returns the files to download, and which of them is the model
 * @throws CliError when it has not all that a worker needs, with what can be done
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
  for (const { path } of chosen) refuseStrange(repository, path);
  return { model, files: chosen };
}

/**
 * The files that a graph reads weights from and that chooseFiles could not know by their names.
 * @param locations as the graph gives them: relative to its folder
 * @throws CliError for one that the repository does not have, or that would lead out of the folder
 */
export function chooseExternalFiles(
  repository: string,
  files: readonly HubFile[],
  model: HubFile,
  locations: readonly string[],
): HubFile[] {
  return locations.map((location) => {
    const path = posix.join(posix.dirname(model.path), location);
    refuseStrange(repository, location);
    const found = files.find((file) => file.path === path);
    if (found) return found;
    throw new CliError(EXIT.failed, `${repository} has no ${path}, where ${model.path} has its weights`);
  });
}

/** A name that would lead out of the folder. */
function refuseStrange(repository: string, path: string): void {
  const strange = path.split('/').some((part) => part === '' || part === '.' || part === '..');
  // eslint-disable-next-line no-control-regex -- what no name of a file has
  if (strange || /[\\\0-\x1f]/.test(path)) {
    throw new CliError(EXIT.failed, `${repository} has a file with the name ${JSON.stringify(path)}`);
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
    'It has these; choose one with --file:',
    ...onnx.map((path) => `  ${path}`),
  ]);
}

function exportHint(repository: string): string[] {
  const name = repository.slice(repository.lastIndexOf('/') + 1);
  return [
    'A checkpoint is made into a model folder by Python (see models/prepare/README.md):',
    `  cd models/prepare && python prepare.py ${repository} ../${name} --texts texts.txt`,
  ];
}
