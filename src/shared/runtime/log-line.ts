/** Formats JSON log lines for people on a terminal. */
import { printable, printableLines } from './printable.ts';

const LEVELS: Record<number, string> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
};
/** Members that the line shows in another form or not at all. */
const SHOWN = new Set(['level', 'time', 'part', 'pid', 'msg', 'reason', 'err']);

interface LogLine {
  level: number;
  time?: number;
  part?: string;
  msg: string;
  reason?: unknown;
  err?: { message?: string; stack?: string };
  [name: string]: unknown;
}

/** `12:34:56 WARN  api  message: reason  name=value`; a stack follows on further lines. Other text is unchanged. */
export function readableLine(json: string): string {
  const line = parseLogLine(json);
  if (!line) return printable(json);
  const { level, time, part = '', msg, reason, err } = line;
  const clock = new Date(time ?? Date.now()).toTimeString().slice(0, 8);
  const why = typeof reason === 'string' ? `: ${reason}` : err?.message ? `: ${err.message}` : '';
  const rest = Object.entries(line)
    .filter(([name]) => !SHOWN.has(name))
    .map(([name, value]) => `  ${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('');
  const stack = level >= 50 && err?.stack ? `\n${err.stack}` : '';
  const start = `${clock} ${(LEVELS[level] ?? String(level)).padEnd(5)} ${part.padEnd(8)}`;
  return `${start} ${printable(`${msg}${why}${rest}`)}${printableLines(stack)}`;
}

/** @returns undefined when the line is not from a logger */
export function parseLogLine(json: string): LogLine | undefined {
  if (!json.startsWith('{')) return undefined;
  try {
    const parsed = JSON.parse(json) as Partial<LogLine>;
    return typeof parsed.level === 'number' && typeof parsed.msg === 'string'
      ? (parsed as LogLine)
      : undefined;
  } catch {
    return undefined;
  }
}
