/** The header of every Lua script names what the script uses, and nothing else. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { readHeader } from '../../src/shared/redis/scripts.ts';

const STORE = path.resolve(import.meta.dirname, '../../src/shared/store');
const files = readdirSync(STORE, { recursive: true, encoding: 'utf8' });
const read = (file: string) => readFileSync(path.join(STORE, file), 'utf8');

/** Scripts by their definitions in the sources; most are not exported, so they are read as text. */
const scripts = files
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) =>
    [...read(file).matchAll(/defineScript\(\s*new URL\('\.\/([^']+)', import\.meta\.url\)/g)].map(([, lua]) =>
      path.join(path.dirname(file), lua!),
    ),
  );

test.each(scripts)('%s uses every key and argument of its header, and documents each on a line', (file) => {
  const lua = read(file);
  const { keys, args } = readHeader(lua);
  const end = lua.indexOf(']]');
  for (const name of [...keys, ...args]) expect(lua.slice(end)).toMatch(new RegExp(`\\b${name}\\b`));
  expect(keys.length + args.length).toBeGreaterThan(0);
  const documented = lua.slice(0, end).match(/^ {2}(?!then )\w/gm) ?? [];
  const named = lua.slice(0, end).match(/^ {2}\w+(, \w+)* {2}/gm) ?? [];
  expect(named).toHaveLength(documented.length);
});

test('every Lua file is a script or included in one', () => {
  const includes = scripts.flatMap((file) =>
    readHeader(read(file)).includes.map((include) => path.join(path.dirname(file), include)),
  );
  expect([...new Set([...scripts, ...includes])].sort()).toEqual(
    files.filter((file) => file.endsWith('.lua')).sort(),
  );
});
