/**
 * Lua scripts: loading, including, naming of keys and arguments, running, and parsing of replies.
 *
 * A script begins with a header, which says what the script does and replies, and names what it includes, its keys and its
 * arguments:
 *
 *     INCLUDES ../now.lua
 *     KEYS
 *       batch       hash of the batch
 *     ARGV
 *       expires_at  Unix ms at which the batch expires
 *
 * The names are local variables of the script, and callers pass values by the same names (`expiresAt`). Redis checks the rights of
 * its users for every key of a call: a key that the header does not name is not passed on.
 */
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

export type ScriptArg = string | number | Buffer;

/** Keys and arguments behind the named ones, of scripts that take any number of them. */
export interface MoreParameters {
  keys?: readonly string[];
  args?: readonly ScriptArg[];
}

export interface Script<Reply> {
  /** @throws Error when a key or an argument of the header is missing */
  run(
    redis: Redis,
    keys: Readonly<Record<string, string>>,
    args: Readonly<Record<string, ScriptArg>>,
    more?: MoreParameters,
  ): Promise<Reply>;
}

/** Checks and converts a reply; Redis replies null for nil and false. */
export interface ReplyParser<Reply> {
  parse: (raw: unknown) => Reply;
}

type Command = (numberOfKeys: number, ...keysAndArgs: ScriptArg[]) => Promise<unknown>;

/**
 * A script of Redis, read once. ioredis sends its hash, and the whole text only to a server that does not know it.
 * @param file the script's file; its path below src/shared/store is its name among the commands of a connection
 * @param reply a schema, or another parser. Not a function that makes the schema: making one takes 10 µs, parsing 0.1
 */
export function defineScript<Reply>(file: URL, reply: ReplyParser<Reply>): Script<Reply> {
  const body = readFileSync(file, 'utf8');
  const { includes, keys, args } = readHeader(body);
  const lua = [
    ...includes.map((include) => readFileSync(new URL(include, file), 'utf8')),
    ...(keys.length > 0 ? [`local ${keys.join(', ')} = unpack(KEYS)`] : []),
    ...(args.length > 0 ? [`local ${args.join(', ')} = unpack(ARGV)`] : []),
    body,
  ].join('\n');
  const [keyNames, argNames] = [keys.map(camelCase), args.map(camelCase)];
  const name = `amulet:${file.pathname.split('/').slice(-2).join('/')}`;
  const valuesOf = <Value>(names: readonly string[], values: Readonly<Record<string, Value>>): Value[] =>
    names.map((each) => {
      const value = values[each];
      if (value === undefined) throw new Error(`${name} needs ${each}. This is a bug.`);
      return value;
    });
  return {
    async run(redis, keyValues, argValues, { keys: moreKeys = [], args: moreArgs = [] } = {}) {
      const commands = redis as unknown as Record<string, Command | undefined>;
      if (!commands[name]) redis.defineCommand(name, { lua });
      const command = commands[name] as unknown as Command;
      const numberOfKeys = keyNames.length + moreKeys.length;
      const keysAndArgs = [
        ...valuesOf(keyNames, keyValues),
        ...moreKeys,
        ...valuesOf(argNames, argValues),
        ...moreArgs,
      ];
      return reply.parse(await command.call(redis, numberOfKeys, ...keysAndArgs));
    },
  };
}

/** The names in the header of a script, as it spells them. */
export function readHeader(lua: string): { includes: string[]; keys: string[]; args: string[] } {
  const header = lua.slice(0, lua.indexOf(']]'));
  const [, includes = ''] = /^INCLUDES (.*)$/m.exec(header) ?? [];
  // Each line of a section begins with a name, or several before commas; further ones are not named ("then …").
  const namesIn = (section: string) =>
    [...section.matchAll(/^ {2}(\w+(?:, \w+)*) {2}/gm)].flatMap(([, names = '']) => names.split(', '));
  const [, keys = ''] = /^KEYS\n((?: .*\n)*)/m.exec(header) ?? [];
  const [, args = ''] = /^ARGV\n((?: .*\n)*)/m.exec(header) ?? [];
  return { includes: includes.split(' ').filter(Boolean), keys: namesIn(keys), args: namesIn(args) };
}

/** `expires_at` → `expiresAt`. */
export const camelCase = (name: string): string =>
  name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** Reply of scripts that answer 1 for a change and 0 for none. */
export const isOne: ReplyParser<boolean> = { parse: (raw) => raw === 1 };
/** Reply of scripts whose answer says nothing. */
export const noReply: ReplyParser<void> = { parse: () => {} };
