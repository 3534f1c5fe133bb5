/** Collects the first error rows of the results, to show them: few people search a large output for them. */

export interface ErrorRow {
  /** Line of the input. */
  line: number;
  message: string;
}

/** Error rows to show. */
const SHOWN = 3;
/** Bytes of a row that may be an error, which spares parsing all rows. */
const HINT = Buffer.from('"error":{');
const LF = 0x0a;

/** Keeps the first error rows it is given. */
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
