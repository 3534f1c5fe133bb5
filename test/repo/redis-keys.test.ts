/** Names of keys and channels stand in src/shared/redis/keys.ts; documentation and the users of Redis agree with it. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as names from '../../src/shared/redis/keys.ts';

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

/** Name without the prefix, `*` for every argument → structure. */
const known = new Map(Object.values(names).map((name) => [name('', '*', '*').slice(1), name.structure]));
const channels = [...known].filter(([, structure]) => structure === 'channel').map(([name]) => name);
/** BullMQ's keys, by queue. */
const queues = ['classify-*', 'low-*', 'bulk-*', 'deliveries:*'];

test('the table of docs/architecture.md lists every key and channel with its structure', () => {
  const rows = read('docs/architecture.md').matchAll(/^\| `([^`]+)` +\| ([a-z ]+?) +\|.*\|$/gm);
  const documented = new Map(
    [...rows].map(([, name, structure]) => [name!.replaceAll(/<[^>]+>/g, '*'), structure]),
  );
  const structures = new Map(
    [...known].map(([name, structure]) => [name, structure === 'zset' ? 'sorted set' : structure]),
  );
  expect(documented).toEqual(structures);
});

test('deploy/redis/users.acl grants only names that exist, and every channel', () => {
  const acl = read('deploy/redis/users.acl');
  const granted = (sign: string) =>
    [...acl.matchAll(new RegExp(` ${sign}\\{amulet\\}:(\\S+)`, 'g'))].map(([, name]) => name!);
  const keys = new Set([...known.keys(), ...queues, '*']);
  for (const channel of channels) keys.delete(channel);
  expect(granted('~').filter((name) => !keys.has(name))).toEqual([]);
  const grants = [...new Set(granted('&'))];
  expect(grants.filter((name) => !channels.includes(name))).toEqual([]);
  // `*` stands for any characters: `api:*` grants `api:*:early`.
  const grantedBy = (name: string) => (grant: string) =>
    grant === name || (grant.endsWith('*') && name.startsWith(grant.slice(0, -1)));
  expect(channels.filter((name) => !grants.some(grantedBy(name)))).toEqual([]);
});

test('every key and channel has one line of documentation that begins with its structure', () => {
  const source = read('src/shared/redis/keys.ts');
  const documented = source.matchAll(
    /\/\*\*\s(?:\s*\* )?([A-Z][a-z ]+?)(?: of|:)(?:(?!\*\/)[^])*\*\/\nexport const (\w+) = /g,
  );
  const words = {
    string: 'String',
    hash: 'Hash',
    set: 'Set',
    zset: 'Sorted set',
    stream: 'Stream',
    list: 'List',
  };
  expect(Object.fromEntries([...documented].map(([, word, name]) => [name, word]))).toEqual(
    Object.fromEntries(
      Object.entries(names).map(([name, { structure }]) => [
        name,
        structure === 'channel' ? 'Channel' : words[structure],
      ]),
    ),
  );
});
