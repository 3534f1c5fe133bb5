/** Imports follow the arrows of eslint.config.js and run in no circle. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { ESLint, Linter } from 'eslint';
import ts from 'typescript';
import tseslint from 'typescript-eslint';
import { describe, expect, test } from 'vitest';

const configFile = '../../eslint.config.js';
const { ARROWS, rooms } = (await import(configFile)) as {
  ARROWS: Record<string, readonly string[]>;
  rooms: readonly string[];
};

/** Imports against the arrows that are right, and why. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'src/cli/model/check.ts → src/worker/model-check/main.ts':
    'starts the check as a process of its own: the command loads nothing of the worker',
};

interface Import {
  from: string;
  specifier: string;
  /** The file or folder that the specifier names. */
  to: string;
  /** ESLint's `no-restricted-imports` sees static imports only. A URL names a process or an asset, and loads no module here. */
  kind: 'static' | 'dynamic' | 'url';
}

const files = ['src', 'bench'].flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.[jt]s$/.test(name))
    .map((name) => path.posix.join(folder, name)),
);
const imports = files.flatMap(importsOf);

test('no modules of src and bench import each other in a circle', () => {
  expect(files.length).toBeGreaterThan(100);
  const targets = Map.groupBy(
    imports.filter(({ kind }) => kind !== 'url'),
    ({ from }) => from,
  );
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (file: string, trail: readonly string[]) => {
    const start = trail.indexOf(file);
    if (start !== -1) circles.push([...trail.slice(start), file].join(' → '));
    if (start !== -1 || done.has(file)) return;
    for (const { to } of targets.get(file) ?? []) visit(to, [...trail, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  expect(circles).toEqual([]);
});

test('every folder of src is a room with arrows', () => {
  const folders = (parent: string) =>
    readdirSync(parent, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const found = [
    ...folders('src')
      .filter(({ name }) => name !== 'shared')
      .map(({ name }) => name),
    ...folders('src/shared').map(({ name }) => `shared/${name}`),
  ];
  expect(found.toSorted()).toEqual([...rooms].toSorted());
});

describe.each(rooms)('src/%s', async (room) => {
  const others = rooms.filter((other) => other !== room);
  const arrows = ARROWS[room] ?? [];
  const probesOf = (other: string) =>
    [`src/${room}`, `src/${room}/inner`].map((folder) => specifier(folder, `src/${other}/any.ts`));
  const along = arrows.map((entry) => ({ entry, name: specifier(`src/${room}`, `src/${entry}.ts`) }));
  const loaded = imports.filter(({ from, kind }) => kind !== 'static' && from.startsWith(`src/${room}/`));
  const messages = await lint(room, [
    ...others.flatMap(probesOf),
    ...along.map(({ name }) => name),
    ...loaded.map((each) => each.specifier),
  ]);

  test.each(others)('imports src/%s only along an arrow', (other) => {
    const isOpen = arrows.some((entry) => `${other}/`.startsWith(`${entry}/`));
    const message = `src/${room} must not import this from src/${other}: see ARROWS in eslint.config.js.`;
    for (const probe of probesOf(other)) expect(messages.get(probe)).toEqual(isOpen ? [] : [message]);
    for (const { name } of along.filter(({ entry }) => entry.startsWith(`${other}/`)))
      expect(messages.get(name)).toEqual([]);
  });

  test('reaches no other room by import() or a URL against the arrows', () => {
    const wrong = loaded
      .filter((each) => messages.get(each.specifier)?.length !== 0)
      .map(({ from, to }) => `${from} → ${to}`);
    expect(wrong).toEqual(Object.keys(EXCEPTIONS).filter((each) => each.startsWith(`src/${room}/`)));
  });
});

test('every module that is imported is there', () => {
  expect(imports.filter(({ to }) => !existsSync(to))).toEqual([]);
});

test('./setup imports a module that is there', () => {
  const named = [...readFileSync('setup', 'utf8').matchAll(/from "(\.\/[^"]+)"/g)].map(
    ([, name = '']) => name,
  );
  expect(named).not.toEqual([]);
  expect(named.filter((name) => !existsSync(name))).toEqual([]);
});

function importsOf(from: string): Import[] {
  const text = readFileSync(from, 'utf8');
  const { importedFiles } = ts.preProcessFile(text, true, true);
  const named = importedFiles.map(({ fileName, pos }) => ({
    specifier: fileName,
    kind: /\bimport\(\s*$/.test(text.slice(0, pos)) ? ('dynamic' as const) : ('static' as const),
  }));
  const urls = [...text.matchAll(/new URL\(\s*(['"])(\.[^'"]*)\1,\s*import\.meta\.url/g)].map(
    ([, , name = '']) => ({ specifier: name, kind: 'url' as const }),
  );
  return [...named, ...urls]
    .filter((each) => each.specifier.startsWith('.'))
    .map((each) => ({ ...each, from, to: path.posix.join(path.posix.dirname(from), each.specifier) }));
}

const specifier = (folder: string, file: string): string => path.posix.relative(folder, file);

/**
 * Messages of the import rule, as the project's configuration has it for a file of this room, by specifier. All are linted as
 * one text: most of a run of ESLint goes into reading its configuration.
 */
async function lint(room: string, specifiers: string[]): Promise<Map<string, string[]>> {
  const filename = `src/${room}/probe.ts`;
  const config = (await new ESLint().calculateConfigForFile(filename)) as Linter.Config;
  const found = new Linter().verify(
    specifiers.map((name) => `import type { Any } from '${name}';`).join('\n'),
    {
      files: ['**/*.ts'],
      languageOptions: { parser: tseslint.parser },
      rules: { 'no-restricted-imports': config.rules?.['no-restricted-imports'] },
    },
    { filename },
  );
  // A text that does not parse has a message without a rule.
  expect(found.filter(({ ruleId }) => ruleId === null)).toEqual([]);
  return new Map(
    specifiers.map((name, i) => [
      name,
      found
        .filter(({ line }) => line === i + 1)
        .map(({ message }) => message.replace(/^.*? is restricted from being used by a pattern\. /, '')),
    ]),
  );
}
