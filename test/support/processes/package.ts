/** The npm package of the client, built, packed and installed as a user would. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, symlinkSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const ROOT = path.resolve(import.meta.dirname, '../../..');
/** Of what a registry that cannot be reached is told by npm. */
const OFFLINE = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTCACHED|ENETUNREACH/;

/** @throws Error with what it said */
export function run(command: string, args: string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** Builds the package into a folder of `folder`. @returns its path */
export function buildPackage(folder: string): string {
  const target = path.join(folder, 'dist');
  run(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', path.join(ROOT, 'packaging/main.ts'), target],
    ROOT,
  );
  return target;
}

/** A folder in which `amulet-classify` can be imported, without its dependencies, which the client has none of. */
export function linkedPackage(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'amulet-linked-'));
  const built = buildPackage(folder);
  mkdirSync(path.join(folder, 'node_modules/@amulet'), { recursive: true });
  symlinkSync(built, path.join(folder, 'node_modules/amulet-classify'));
  return folder;
}

export interface InstalledPackage {
  /** Where it is installed, and nothing else. */
  folder: string;
  /** Files of the tarball. */
  files: string[];
  /** Why it could not be installed. */
  missing?: string;
}

export function installPackage(): InstalledPackage {
  const folder = mkdtempSync(path.join(tmpdir(), 'amulet-package-'));
  const built = buildPackage(folder);
  const packed = JSON.parse(run('npm', ['pack', built, '--json', '--loglevel=error'], folder)) as {
    filename: string;
    files: { path: string }[];
  }[];
  const [{ filename, files }] = packed as [(typeof packed)[number]];
  const names = files.map((file) => file.path);
  writeFileSync(path.join(folder, 'package.json'), '{"private": true, "type": "module"}');
  const [tarball] = readdirSync(folder).filter((name) => name.endsWith('.tgz')) as [string];
  try {
    const quietly = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
    run('npm', ['install', `./${tarball}`, ...quietly], folder);
  } catch (error) {
    if (!(error instanceof Error) || !OFFLINE.test(error.message)) throw error;
    return { folder, files: names, missing: 'no npm registry' };
  }
  if (!existsSync(path.join(folder, 'node_modules/amulet-classify')))
    throw new Error(`npm ignored ${filename}`);
  return { folder, files: names };
}

/** A Node that users have: 20 where there is one, else any other on the PATH, else the one that runs the tests. */
export function plainNode(): { command: string; version: string } {
  const candidates = (process.env.PATH ?? '')
    .split(path.delimiter)
    .filter((folder) => !folder.includes('node_modules'))
    .map((folder) => path.join(folder, 'node'))
    .filter((command) => existsSync(command))
    .map((command) => ({ command, version: run(command, ['--version'], '/').trim() }))
    .filter(({ version }) => Number(/\d+/.exec(version)?.[0]) >= 20);
  const own = { command: process.execPath, version: process.version };
  return candidates.find(({ version }) => version.startsWith('v20.')) ?? candidates[0] ?? own;
}
