/** Every Lua script begins with the names that its definition lists, so values cannot get into the wrong place. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Script } from '../../src/shared/redis/scripts.ts';

const STORE = new URL('../../src/shared/store/', import.meta.url);
const files = readdirSync(STORE, { recursive: true, encoding: 'utf8' });

const definitions: { file: string; keys: readonly string[]; args: readonly string[]; includes: string[] }[] =
  [];

/** The definitions in a source file. Most are not exported, so they are read as text. */
function definitionsIn(module: string): void {
  const source = readFileSync(new URL(module, STORE), 'utf8');
  for (const [, lua, body] of source.matchAll(
    /defineScript\(new URL\('\.\/([^']+)', import\.meta\.url\), \{([^]*?)\n {2}reply/g,
  )) {
    const names = (field: string) => {
      const list = new RegExp(`\\b${field}: \\[([^\\]]*)\\]`).exec(body!)?.[1] ?? '';
      return [...list.matchAll(/'([^']+)'/g)].map(([, name]) => name!);
    };
    const folder = module.slice(0, module.lastIndexOf('/') + 1);
    definitions.push({
      file: folder + lua!,
      keys: names('keys') satisfies Script<string, string, unknown>['keys'],
      args: names('args'),
      includes: names('includes').map((include) =>
        new URL(include, new URL(folder, STORE)).href.slice(STORE.href.length),
      ),
    });
  }
}
for (const file of files) if (file.endsWith('.ts')) definitionsIn(file);

const scripts = files.filter((file) => file.endsWith('.lua'));
const snake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Locals of the line that unpacks KEYS or ARGV. */
function unpacked(lua: string, table: 'KEYS' | 'ARGV'): string[] {
  const code = lua.slice(lua.indexOf(']]') + 2);
  const names = new RegExp(`^local ([\\w,\\s]+?) =\\s+unpack\\(${table}\\)$`, 'm').exec(code)?.[1];
  return names?.split(/,\s*/) ?? [];
}

test.each(definitions.map((definition) => [definition.file, definition] as const))(
  '%s unpacks and documents the keys and arguments of its definition',
  (file, { keys, args }) => {
    const lua = readFileSync(new URL(file, STORE), 'utf8');
    expect(unpacked(lua, 'KEYS')).toEqual(keys.map(snake));
    expect(unpacked(lua, 'ARGV')).toEqual(args.map(snake));
    const header = lua.slice(0, lua.indexOf(']]'));
    for (const name of [...keys, ...args])
      expect(header).toMatch(new RegExp(`^ {2}(\\w+, )*${snake(name)}\\b`, 'm'));
  },
);

test('every Lua file is a script or included in one', () => {
  const used = new Set(definitions.flatMap(({ file, includes }) => [file, ...includes]));
  expect([...used].sort()).toEqual(scripts.toSorted());
});
