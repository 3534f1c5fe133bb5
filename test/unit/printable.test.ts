/** What comes from outside, on its way to a terminal or a log. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createReporter } from '../../src/cli/terminal/reporter.ts';
import { readableLine } from '../../src/shared/runtime/log-line.ts';
import { printable, printableLines } from '../../src/shared/runtime/printable.ts';

const escaped: [string, string[]][] = [
  ['C0', ['\0', '\x07', '\b', '\t', '\n', '\r', '\x1b', '\x1f']],
  ['DEL', ['\x7f']],
  ['C1, among them CSI and next line', ['\x80', '\x85', '\x9b', '\x9d', '\x9f']],
  ['marks of direction', ['\u061c', '\u200e', '\u200f']],
  ['embeddings and overrides', ['\u202a', '\u202b', '\u202c', '\u202d', '\u202e']],
  ['isolates', ['\u2066', '\u2067', '\u2068', '\u2069']],
  ['zero width', ['\u00ad', '\u200b', '\u2060', '\ufeff', '\u180e']],
  ['separators of lines', ['\u2028', '\u2029']],
  ['halves of surrogate pairs', ['\ud800', '\udfff']],
  ['tags', ['\u{e0001}', '\u{e0041}']],
];
/** As JSON and JavaScript write it. */
const written = (text: string) =>
  Array.from(
    { length: text.length },
    (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`,
  ).join('');

test.each(escaped)('%s are escapes', (_what, characters) => {
  for (const character of characters) {
    expect(printable(`a${character}b`)).toBe(`a${written(character)}b`);
    expect(printableLines(`a${character}b`)).toBe(character === '\n' ? 'a\nb' : `a${written(character)}b`);
  }
});

test.each(['Ελλάδα 图书馆', 'می‌خواهم', '👩‍👩‍👧 🏴 ❤️', 'e\u0301 ñ', '─━…', '\u00a0'])(
  '%s stays as it is',
  (text) => expect(printable(text)).toBe(text),
);

test('JSON keeps its meaning', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(JSON.parse(printableLines(JSON.stringify({ text }, undefined, 2)))).toEqual({ text });
    }),
  );
});

const UNSEEN = /[\p{Cc}\u202e]/u;
const ESCAPE = '\x1b[';
/** Without what the reporter steers the terminal with: back to the start of the line, clear the rest, colours. */
const withoutOwn = (text: string) =>
  text
    .replaceAll('\r', '')
    .split(ESCAPE)
    .map((piece, i) => (i === 0 ? piece : `${ESCAPE}${piece}`.replace(/^..(K|\d+m)/, '')))
    .join('');

describe('messages of a server, as the command prints them', () => {
  const EVIL = 'busy\x1b]0;title\x07\x1b[2J\x9b2J\u202egnp.exe\nUploaded    1,000 rows';

  test.each([true, false])('on a terminal: %s', (isTTY) => {
    const stream = Object.assign(new PassThrough(), { isTTY, columns: 400 });
    const reporter = createReporter(stream as unknown as NodeJS.WriteStream, false);
    reporter.watch(() => ({ label: 'Uploading', unit: 'rows', done: 1, total: 2, delay: EVIL }));
    reporter.log(EVIL);
    reporter.warn(EVIL);
    reporter.unwatch();
    const text = withoutOwn(String(stream.read()));
    expect(text.replaceAll('\n', '')).not.toMatch(UNSEEN);
    expect(text).not.toMatch(/^Uploaded/m);
  });

  test('in a line of the log', () => {
    const line = readableLine(JSON.stringify({ level: 40, msg: EVIL, reason: EVIL, model: EVIL }));
    expect(line).not.toMatch(UNSEEN);
    expect(readableLine(EVIL)).not.toMatch(UNSEEN);
  });
});

test('the command writes to its streams in two places, which escape', () => {
  const folder = path.resolve('src/cli');
  const writers = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => {
    if (!name.endsWith('.ts')) return false;
    const code = readFileSync(path.join(folder, name), 'utf8');
    return /std(out|err)\.(write|end)|stream\.write|console\.|fd: [12]\b/.test(code);
  });
  expect(writers.sort()).toEqual(['terminal/print.ts', 'terminal/reporter.ts']);
  const reporter = readFileSync(path.join(folder, 'terminal/reporter.ts'), 'utf8');
  for (const [line] of reporter.matchAll(/^.*stream\.write\(.*$/gm))
    expect(line).toMatch(/printable\(|warning\(|#line\(|`\\r\$\{CLEAR_REST\}`/);
});
