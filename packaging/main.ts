/**
 * `npm run build:client`: makes the npm package of the client and the `amulet` command in dist/ (or the folder given), as
 * JavaScript and declarations: Node runs no TypeScript under node_modules. `npm publish ./dist` publishes it.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { manifest, type RootManifest } from './manifest.ts';
import { reach } from './reach.ts';

const BIN = `#!/usr/bin/env node
import './main.js';
`;
const EXECUTABLE = 0o755;

const root = path.resolve(import.meta.dirname, '..');
const target = path.resolve(process.argv[2] ?? path.join(root, 'dist'));
const inTarget = (name: string): string => path.join(target, name);

// The folder is emptied first, so it must be empty or an earlier output.
const isOurs = existsSync(inTarget('package.json')) && existsSync(inTarget('lib/cli/bin.js'));
if (existsSync(target) && readdirSync(target).length > 0 && !isOurs)
  throw new Error(`${target} is not empty, and not the output of an earlier run`);
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
const compiler = path.join(root, 'node_modules/typescript/bin/tsc');
execFileSync(process.execPath, [compiler, '-p', import.meta.dirname, '--outDir', inTarget('lib')], {
  stdio: 'inherit',
});
writeFileSync(inTarget('lib/cli/bin.js'), BIN);
chmodSync(inTarget('lib/cli/bin.js'), EXECUTABLE);

const emitted = readdirSync(inTarget('lib'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map(({ parentPath, name }) => path.join(parentPath, name));
// The compiler writes .js into modules for .ts, and leaves declarations as they are.
for (const file of emitted.filter((name) => name.endsWith('.d.ts'))) {
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replaceAll(/(from '\.[^']*)\.ts'/g, "$1.js'"));
}
// The compiler also emits modules that others import only types from: remove these.
const code = reach(
  ['client/index.js', 'client/node.js', 'cli/bin.js'].map((name) => inTarget(`lib/${name}`)),
);
const types = reach(['client/index.d.ts', 'client/node.d.ts'].map((name) => inTarget(`lib/${name}`)));
for (const file of emitted) {
  if (!code.files.has(file) && !types.files.has(file)) rmSync(file);
}

const own = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as RootManifest;
const made = manifest(own);
const known = { ...made.dependencies, ...made.peerDependencies };
const unknown = [...code.packages, ...types.packages].filter(
  (name) => !name.startsWith('node:') && !(name in known),
);
if (unknown.length > 0) throw new Error(`packaging/manifest.ts does not list ${unknown.join(', ')}`);
writeFileSync(inTarget('package.json'), `${JSON.stringify(made, undefined, 2)}\n`);
copyFileSync(path.join(import.meta.dirname, 'README.md'), inTarget('README.md'));
copyFileSync(path.join(root, 'LICENSE'), inTarget('LICENSE'));
