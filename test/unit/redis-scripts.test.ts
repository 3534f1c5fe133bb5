/** Keys and arguments of Lua scripts, by the names in their headers. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { defineScript, isOne } from '../../src/shared/redis/scripts.ts';

const SCRIPT = `--[[
Moves an item.

INCLUDES helper.lua
KEYS
  from        where it is
  to          where it goes
  then any number of other keys
ARGV
  max_bytes, item  two arguments
    indented further, no name

Returns 1.
]]
return helper(from, to, max_bytes, item)
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-scripts-'));
  writeFileSync(path.join(folder, 'move.lua'), SCRIPT);
  writeFileSync(path.join(folder, 'helper.lua'), 'local function helper() return 1 end');
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A connection that records the text of the script and the arguments of its calls. */
function recordingRedis() {
  const calls: unknown[][] = [];
  const redis = {
    lua: '',
    defineCommand(name: string, { lua }: { lua: string }) {
      this.lua = lua;
      Object.assign(this, { [name]: (...args: unknown[]) => Promise.resolve(calls.push(args)) });
    },
  };
  return { redis: redis as unknown as Redis & Pick<typeof redis, 'lua'>, calls };
}

const move = () => defineScript(pathToFileURL(path.join(folder, 'move.lua')), isOne);

test('values get into the order of the header, behind their number, and before further ones', async () => {
  const { redis, calls } = recordingRedis();
  const args = { item: 'x', maxBytes: 5 };
  const more = { keys: ['k3'], args: ['y'] };
  expect(await move().run(redis, { to: 'k2', other: 'k9', from: 'k1' }, args, more)).toBe(true);
  expect(calls).toEqual([[3, 'k1', 'k2', 'k3', 5, 'x', 'y']]);
});

test('the names are local variables of the script, behind what it includes', async () => {
  const { redis } = recordingRedis();
  await move().run(redis, { to: 'k2', from: 'k1' }, { item: 'x', maxBytes: 5 });
  const [included, keys, args] = redis.lua.split('\n');
  expect(included).toBe('local function helper() return 1 end');
  expect(keys).toBe('local from, to = unpack(KEYS)');
  expect(args).toBe('local max_bytes, item = unpack(ARGV)');
});

test('a key or an argument that is missing is refused, and Redis is not asked', async () => {
  const { redis, calls } = recordingRedis();
  await expect(move().run(redis, { from: 'k1' }, { item: 'x', maxBytes: 5 })).rejects.toThrow('needs to');
  await expect(move().run(redis, { from: 'k1', to: 'k2' }, { item: 'x' })).rejects.toThrow('needs maxBytes');
  expect(calls).toEqual([]);
});
