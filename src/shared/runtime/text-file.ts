/** Decodes small files that people write: UTF-8 with or without a byte order mark; other encodings are refused in one line. */
import { StartupError } from './startup-error.ts';

const UTF16 = 'is UTF-16, as PowerShell and "Unicode" in Notepad write it: save it as UTF-8';

/**
 * The text, with `\n` as the only line end and without byte order marks.
 * @param file path, which begins every message
 * @throws StartupError without any content of the file
 */
export function decodeText(bytes: Buffer, file: string): string {
  const mark = bytes.subarray(0, 2).toString('hex');
  if (mark === 'fffe' || mark === 'feff') throw new StartupError(`${file} ${UTF16}`);
  const nul = bytes.indexOf(0);
  if (nul !== -1) {
    // UTF-16 without its mark: every other byte of ASCII text is 0.
    const nulls = (side: number) => bytes.filter((byte, i) => byte === 0 && i % 2 === side).length;
    if (Math.max(nulls(0), nulls(1)) > bytes.length / 4) throw new StartupError(`${file} ${UTF16}`);
    const line = bytes.subarray(0, nul).toString('latin1').split('\n').length;
    throw new StartupError(`${file}, line ${line} has a NUL byte: the file is damaged, write it again`);
  }
  const text = bytes.toString('utf8').replace(/\r\n?/g, '\n');
  // Two joined files with marks have one in the middle.
  const lines = text.split('\n').map((line) => line.replace(/^\uFEFF+/, ''));
  const wrong = lines.findIndex((line) => line.includes('\uFFFD') && !line.trimStart().startsWith('#'));
  if (wrong !== -1)
    throw new StartupError(`${file}, line ${wrong + 1} is not valid UTF-8: save the file as UTF-8`);
  return lines.join('\n');
}
