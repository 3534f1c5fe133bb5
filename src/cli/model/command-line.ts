/** Parses the arguments of `amulet model`. */
import { commandName } from '../../shared/runtime/environment.ts';
import { parseFlags, patienceMs } from '../terminal/arguments.ts';
import { UsageError } from '../terminal/exit.ts';
import { shellWord } from '../terminal/units.ts';

export interface PullCommand {
  kind: 'pull';
  /** `owner/name`, or `name` */
  id: string;
  revision: string;
  /** The ONNX file, if named. */
  file: string | undefined;
  /** Path of the model folder. */
  out: string;
  force: boolean;
  quiet: boolean;
  /** How long to retry while nothing works, in ms. */
  retryTimeoutMs: number;
  /** The arguments as given. */
  args: readonly string[];
}

export interface CheckCommand {
  kind: 'check';
  folder: string;
  /** The ONNX file in the folder, if named. */
  file: string | undefined;
  /** Texts to classify; empty: built-in samples. */
  texts: string[];
  json: boolean;
}

const HELP = `${commandName()} model --help`;
const DEFAULT_PATIENCE_S = 120;
/** IDs that the hub allows. */
const ID = /^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)?$/;

/** @param args those after `model` */
export function parseModel([command, ...args]: readonly string[]): PullCommand | CheckCommand | 'help' {
  if (command === '--help' || command === '-h') return 'help';
  if (command === 'pull') return parsePull(args);
  if (command === 'check') return parseCheck(args);
  throw new UsageError(
    command === undefined
      ? `missing command: model pull or model check; see ${HELP}`
      : `unknown command model ${command}; see ${HELP}`,
  );
}

const PULL_FLAGS = {
  revision: { type: 'string' },
  file: { type: 'string' },
  out: { type: 'string', short: 'o' },
  force: { type: 'boolean' },
  quiet: { type: 'boolean', short: 'q' },
  patience: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

function parsePull(args: readonly string[]): PullCommand | 'help' {
  const { values, positionals } = parseFlags(HELP, args, PULL_FLAGS);
  if (values.help === true) return 'help';
  const id = single(positionals, 'ID', 'Xenova/distilbert-base-uncased-finetuned-sst-2-english');
  if (!ID.test(id)) throw new UsageError(`${shellWord(id)} is not a model ID such as owner/name`);
  const { revision = 'main', file, out = `models/${id.slice(id.lastIndexOf('/') + 1)}` } = values;
  for (const [name, value] of Object.entries({ revision, file, out })) {
    if (value === '') throw new UsageError(`--${name} must not be empty`);
  }
  const { force = false, quiet = false } = values;
  return {
    kind: 'pull',
    id,
    revision,
    file,
    out,
    force,
    quiet,
    retryTimeoutMs: patienceMs(values.patience, DEFAULT_PATIENCE_S),
    args,
  };
}

const CHECK_FLAGS = {
  file: { type: 'string' },
  text: { type: 'string', multiple: true },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

function parseCheck(args: readonly string[]): CheckCommand | 'help' {
  const { values, positionals } = parseFlags(HELP, args, CHECK_FLAGS);
  if (values.help === true) return 'help';
  const folder = single(positionals, 'FOLDER', 'models/sentiment-multilingual');
  const { file, text: texts = [], json = false } = values;
  return { kind: 'check', folder, file, texts, json };
}

function single(positionals: readonly string[], name: string, example: string): string {
  const [first, ...others] = positionals;
  if (first === undefined || first === '') throw new UsageError(`missing ${name}, such as ${example}`);
  if (others.length > 0)
    throw new UsageError(`only one ${name} is allowed: ${positionals.map(shellWord).join(' ')}`);
  return first;
}
