/** Package names: a reader who follows the docs never runs the package of a stranger. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { commandName } from '../../src/shared/runtime/environment.ts';
import { PACKAGE } from '../../src/shared/contract/names.ts';

const files = execFileSync('git', ['ls-files', '-z'], { encoding: 'utf8' })
  .split('\0')
  .filter((file) => /\.(md|ts|js|sh|py|json|ya?ml|svg)$|^setup$|example$/.test(file))
  .filter((file) => !/^test\/(fixtures|repo\/package-names)|^package-lock|^CHANGELOG/.test(file));

/** Outside a clone, `npx amulet` runs a foreign package; the scope is unregistered. */
const FOREIGN = [
  /npx (?:-y |--yes )?amulet(?![\w-])/,
  /@amulet\//,
  /npm (?:i|install|add) (?:-g )?amulet(?![\w-])/,
];
/** Files that say that the name is not ours. */
const WARNINGS = new Set(['src/shared/contract/names.ts', 'docs/client.md']);

test('no file refers to a foreign package', () => {
  expect(files.length).toBeGreaterThan(200);
  const found = files.flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => FOREIGN.some((name) => name.test(line)))
      .map((line) => `${file}: ${line.trim().slice(0, 100)}`),
  );
  expect(found.filter((line) => !WARNINGS.has(line.split(':')[0] ?? ''))).toEqual([]);
});

test('the package of the clone has the command under both names, so that npx finds it in a clone', () => {
  const { name, bin } = JSON.parse(readFileSync('package.json', 'utf8')) as { name: string; bin: object };
  expect({ name, bin }).toEqual({
    name: PACKAGE,
    bin: { amulet: 'src/cli/bin.js', [PACKAGE]: 'src/cli/bin.js' },
  });
});

test.each([
  [{}, 'amulet'],
  [{ npm_lifecycle_event: 'npx', npm_lifecycle_script: 'amulet-classify' }, 'npx amulet-classify'],
  [
    { npm_lifecycle_event: 'npx', npm_lifecycle_script: "'amulet-classify' 'backfill'" },
    'npx amulet-classify',
  ],
  [{ npm_lifecycle_event: 'npx', npm_lifecycle_script: 'amulet "backfill" "x"' }, 'npx amulet-classify'],
  [{ npm_lifecycle_event: 'amulet', npm_lifecycle_script: 'node src/cli/bin.js' }, 'npm run amulet --'],
  [{ npm_lifecycle_event: 'npx', npm_lifecycle_script: 'vitest run' }, 'amulet'],
  [{ npm_lifecycle_event: 'test', npm_lifecycle_script: 'vitest run' }, 'amulet'],
])('started as %j, the command suggests %s', (env, name) => expect(commandName(env)).toBe(name));
