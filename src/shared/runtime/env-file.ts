/**
 * Parses `.env`. Values are those of Node's own `process.loadEnvFile`, but input that Node drops or cuts silently (a byte order
 * mark, UTF-16, a line without `=`, a lone quote) is handled or refused here: a lost `API_KEYS` would open the API to everyone.
 */
import { closeSync, lstatSync, openSync, readSync, statSync } from 'node:fs';
import { StartupError } from './startup-error.ts';
import { toError } from './to-error.ts';
import { decodeText } from './text-file.ts';

export interface EnvEntry {
  name: string;
  value: string;
  /** Counted from 1. */
  line: number;
}

export interface EnvFile {
  /** In the order of the file; of a repeated name the last entry counts. */
  entries: EnvEntry[];
  /** Probable mistakes, one line each, without values. */
  warnings: string[];
}

const MAX_BYTES = 1_000_000;
const NAME = /^[A-Za-z_][A-Za-z0-9_.-]*$/;

/**
 * @param file path, which begins every message
 * @param matters whether a malformed line with this text is refused; otherwise it becomes a warning
 * @returns undefined when the file does not exist
 * @throws StartupError when the file or a line is unreadable
 */
export function readEnvFile(file: string, matters?: (line: string) => boolean): EnvFile | undefined {
  // Not existsSync: a dangling link is a mistake, not a missing file.
  if (!lstatSync(file, { throwIfNoEntry: false })) return undefined;
  return parseEnvFile(readAll(file), file, matters);
}

/** @throws StartupError without the line, which may hold a secret */
export function parseEnvFile(bytes: Buffer, file = '.env', matters?: (line: string) => boolean): EnvFile {
  const lines = decodeText(bytes, file).split('\n');
  const entries: EnvEntry[] = [];
  const warnings: string[] = [];
  for (let i = 0; i < lines.length; i++) {
    const line = (lines[i] ?? '').trim();
    if (line === '' || line.startsWith('#')) continue;
    const where = `${file}, line ${i + 1}`;
    const refuse = (reason: string) => {
      if (matters === undefined || matters(line)) throw new StartupError(`${where} ${reason}`);
      warnings.push(`${where} ${reason}; it is ignored`);
    };
    const [, name = '', raw = ''] = /^(?:export\s+)?([^=]*?)\s*=\s*(.*)$/.exec(line) ?? [];
    if (!NAME.test(name)) {
      refuse('is not NAME=value: correct it, or begin it with # to leave it out');
      continue;
    }
    const quote = /^["'`]/.exec(raw)?.[0];
    if (quote === undefined) {
      const [value = '', ...comment] = raw.split('#');
      if (comment.length > 0 && /\S$/.test(value))
        warnings.push(
          `${where}: ${name} ends before its #: put quotes around the value if that belongs to it`,
        );
      entries.push({ name, value: value.trim(), line: i + 1 });
      continue;
    }
    // A quoted value may span lines.
    let text = raw.slice(1);
    let last = i;
    while (!text.includes(quote) && last + 1 < lines.length) text += `\n${lines[++last] ?? ''}`;
    const end = text.indexOf(quote);
    if (end === -1) {
      refuse(`has a quote (${quote}) around the value of ${name} that is never closed`);
      continue;
    }
    if (!/^\s*(#.*)?$/.test(text.slice(end + 1)))
      refuse(`has text behind the closing quote (${quote}) of ${name}`);
    const value = text.slice(0, end);
    entries.push({ name, value: quote === '"' ? value.replaceAll('\\n', '\n') : value, line: i + 1 });
    i = last;
  }
  return { entries, warnings: [...warnings, ...duplicates(entries, file)] };
}

/**
 * The uid of another user who owns a file or a link in its place. In a folder that all may write to, such as /tmp, anyone can leave
 * one. Root does not count as another user: root can read and change everything anyway.
 * @returns undefined when the file does not exist, or belongs to this user or root
 */
export function foreignOwner(file: string): number | undefined {
  const own = [process.getuid?.(), 0];
  return [lstatSync, statSync]
    .map((look) => look(file, { throwIfNoEntry: false })?.uid)
    .find((uid) => process.getuid !== undefined && uid !== undefined && !own.includes(uid));
}

function readAll(file: string): Buffer {
  try {
    const fd = openSync(file, 'r');
    try {
      // Not readFileSync: the file may be a device without an end.
      const buffer = Buffer.alloc(MAX_BYTES + 1);
      let length = 0;
      for (let read; length < buffer.length; length += read)
        if ((read = readSync(fd, buffer, length, buffer.length - length, null)) === 0) break;
      if (length > MAX_BYTES)
        throw new StartupError(
          `${file} is larger than ${MAX_BYTES} bytes, so it cannot be a file of settings`,
        );
      return buffer.subarray(0, length);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (error instanceof StartupError) throw error;
    const reasons: Record<string, string> = {
      EISDIR: `is a folder: remove it, or replace it with a file of settings`,
      EACCES: `cannot be read by this user: change its permissions (chmod u+r, chown), or remove it`,
      ENOENT: `is a link to a file that does not exist: correct or remove it`,
      ELOOP: `is a link to itself: remove it`,
    };
    const { code = '' } = error as NodeJS.ErrnoException;
    throw new StartupError(`${file} ${reasons[code] ?? `cannot be read: ${toError(error).message}`}`, {
      cause: error,
    });
  }
}

/** Warnings about names that the file sets to different values. */
function duplicates(entries: readonly EnvEntry[], file: string): string[] {
  const byName = new Map<string, EnvEntry[]>();
  for (const entry of entries) byName.set(entry.name, [...(byName.get(entry.name) ?? []), entry]);
  return [...byName]
    .filter(([, found]) => new Set(found.map(({ value }) => value)).size > 1)
    .map(([name, found]) => {
      const lines = found.map(({ line }) => line).join(', ');
      return `${file} sets ${name} more than once (lines ${lines}): the last one counts`;
    });
}
