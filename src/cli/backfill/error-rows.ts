/** The first errors among rows of results, to be shown: a file of results has too many lines for anybody to look. */

export interface ErrorRow {
  /** Line of the input. */
  line: number;
  message: string;
}

/** So many are shown. */
const SHOWN = 3;
/** Shows that a row may be an error, without parsing all of them. */
const HINT = Buffer.from('"error":{');
const LF = 0x0a;

/** Keeps the first errors of what passes by. */
export class ErrorRows {
  readonly first: ErrorRow[] = [];

  /** @param lines whole rows, in order */
  take(lines: Buffer): void {
    for (let at = lines.indexOf(HINT); at !== -1 && this.first.length < SHOWN;) {
      const end = lines.indexOf(LF, at);
      const row = parse(lines.subarray(lines.lastIndexOf(LF, at) + 1, end === -1 ? lines.length : end));
      if (row) this.first.push(row);
      at = end === -1 ? -1 : lines.indexOf(HINT, end);
    }
  }

  clear(): void {
    this.first.length = 0;
  }
}

function parse(line: Buffer): ErrorRow | undefined {
  try {
    const row = JSON.parse(line.toString()) as { line?: number; error?: { message?: string } };
    // An id may look like an error.
    if (typeof row.error?.message !== 'string' || typeof row.line !== 'number') return undefined;
    return { line: row.line, message: row.error.message };
  } catch {
    return undefined;
  }
}
