/**
 * Lua scripts: loading, including, naming of keys and arguments, running, and parsing of replies.
 *
 * A script begins with a header that explains its keys, arguments and reply, and then gives them names:
 *
 *     local batch, parts = unpack(KEYS)
 *     local id, number = unpack(ARGV)
 *
 * `defineScript` lists the same names, and callers pass values by name; a test compares the two lists. Redis checks the rights
 * of its users for every key of a call, so a caller passes no key that its process may not touch.
 */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

export type ScriptArg = string | number | Buffer;

export interface ScriptDefinition<Key extends string, Arg extends string, Reply> {
  /** Files of functions that the script calls, relative to it. */
  includes?: readonly string[];
  /** Names of the keys, in order. */
  keys: readonly Key[];
  /** Names of the arguments, in order. */
  args: readonly Arg[];
  /** Checks and converts a reply. Redis replies null for nil and false. */
  reply: (raw: unknown) => Reply;
}

/** Keys and arguments behind the named ones, of scripts that take any number of them. */
export interface MoreParameters {
  keys?: readonly string[];
  args?: readonly ScriptArg[];
}

export interface Script<Key extends string, Arg extends string, Reply> {
  readonly file: URL;
  readonly keys: readonly Key[];
  readonly args: readonly Arg[];
  run(
    redis: Redis,
    keys: Readonly<Record<Key, string>>,
    args: Readonly<Record<Arg, ScriptArg>>,
    more?: MoreParameters,
  ): Promise<Reply>;
}

type Command = (numberOfKeys: number, ...keysAndArgs: ScriptArg[]) => Promise<unknown>;

/**
 * A script of Redis, read once. ioredis sends its hash, and the whole text only to a server that does not know it.
 * @param file the script's file; its path below src/shared/store is its name among the commands of a connection
 */
export function defineScript<Key extends string, Arg extends string, Reply>(
  file: URL,
  { includes = [], keys, args, reply }: ScriptDefinition<Key, Arg, Reply>,
): Script<Key, Arg, Reply> {
  const lua = [...includes.map((include) => new URL(include, file)), file]
    .map((each) => readFileSync(each, 'utf8'))
    .join('\n');
  const name = `amulet:${file.pathname.split('/').slice(-2).join('/')}`;
  return {
    file,
    keys,
    args,
    async run(redis, keyNames, argValues, more = {}) {
      const commands = redis as unknown as Record<string, Command | undefined>;
      if (!commands[name]) redis.defineCommand(name, { lua });
      const command = commands[name] as unknown as Command;
      const allKeys = [...keys.map((key) => keyNames[key]), ...(more.keys ?? [])];
      const allArgs = [...args.map((arg) => argValues[arg]), ...(more.args ?? [])];
      return reply(await command.call(redis, allKeys.length, ...allKeys, ...allArgs));
    },
  };
}

/** Reply of scripts that answer 1 for a change and 0 for none. */
export const isOne = (raw: unknown): boolean => raw === 1;
/** Reply of scripts whose answer says nothing. */
export const noReply = (): void => {};
