/**
 * Installs the packages of the peers on demand, in folders under .amulet, as only this bench uses them: they are no
 * dependencies of the project.
 */
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

/** A peer cannot be measured here; the message says why. */
export class Unavailable extends Error {
  override name = 'Unavailable';
}

const TRANSFORMERS = '4.3.1';
/** Packages as large as torch take long. */
const TIMEOUT_MS = 30 * 60_000;

const folder = path.resolve('.amulet');

/** @throws Unavailable with the last line of the program's output */
async function run(program: string, args: string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, args, { timeout: TIMEOUT_MS });
    return stdout.trim();
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const reason = (stderr?.trim() ? stderr : message).trim().split('\n').at(-1);
    throw new Unavailable(`${path.basename(program)} ${args[0]}: ${reason}`, { cause: error });
  }
}

/**
 * A virtual environment under .amulet with the packages of a file in this folder.
 * @returns its Python
 * @throws Unavailable
 */
export async function pythonEnvironment(name = 'peers-venv', file = 'requirements.txt'): Promise<string> {
  const requirements = path.join(import.meta.dirname, file);
  const environment = path.join(folder, name);
  const python = path.join(environment, 'bin', 'python');
  const installed = path.join(environment, 'installed.txt');
  const wanted = readFileSync(requirements, 'utf8');
  if (existsSync(installed) && readFileSync(installed, 'utf8') === wanted) return python;
  await run('python3', [
    '-c',
    'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed")',
  ]);
  await run('python3', ['-m', 'venv', '--clear', environment]);
  await run(python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements]);
  copyFileSync(requirements, installed);
  return python;
}

/**
 * What a program says of its version.
 * @throws Unavailable when it cannot be run
 */
export const programVersion = (program: string): Promise<string> => run(program, ['--version']);

/** Versions of some packages in a virtual environment, and of its Python. */
export async function pythonVersions(python: string, packages: string[]): Promise<string> {
  const program =
    'import platform, sys; from importlib.metadata import version; ' +
    'print(", ".join([*(f"{name} {version(name)}" for name in sys.argv[1:]), f"Python {platform.python_version()}"]))';
  return run(python, ['-c', program, ...packages]);
}

/**
 * A folder whose node_modules have @huggingface/transformers.
 * @throws Unavailable
 */
export async function nodePackages(): Promise<string> {
  const prefix = path.join(folder, 'peers-node');
  if (packageVersion(prefix, '@huggingface/transformers') === TRANSFORMERS) return prefix;
  mkdirSync(prefix, { recursive: true });
  // No scripts: ONNX Runtime's CPU library comes inside its package, and its script would download the CUDA one.
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await run('npm', ['install', '--prefix', prefix, ...quiet, `@huggingface/transformers@${TRANSFORMERS}`]);
  if (packageVersion(prefix, '@huggingface/transformers') !== TRANSFORMERS) {
    throw new Unavailable(`npm did not install @huggingface/transformers in ${prefix}`);
  }
  return prefix;
}

/** Version of an installed package; undefined when it is not installed. */
export function packageVersion(prefix: string, name: string): string | undefined {
  const file = path.join(prefix, 'node_modules', name, 'package.json');
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
