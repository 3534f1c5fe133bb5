/** Counts what is in the results: labels, errors, cut texts, scores; and keeps the first error rows, to show them. */
import type { RowResult } from '../../../shared/contract/results.ts';

export interface ErrorRow {
  /** Line of the input. */
  line: number;
  message: string;
}

/** Error rows to show. */
const SHOWN = 3;
/** Labels that are counted one by one. */
const MAX_LABELS = 1000;
const LF = 0x0a;

export class Outcomes {
  /** The first error rows. */
  readonly first: ErrorRow[] = [];
  /** Rows by their best label. */
  readonly labels = new Map<string, number>();
  /** Error rows by code. */
  readonly errors = new Map<string, number>();
  /** Rows with a label that `labels` leaves out. */
  otherLabels = 0;
  labelled = 0;
  failed = 0;
  truncated = 0;
  #scores = 0;

  /** Undefined without labelled rows. */
  get meanScore(): number | undefined {
    return this.labelled === 0 ? undefined : this.#scores / this.labelled;
  }

  /** @param lines whole rows, in order */
  take(lines: Buffer): void {
    for (let from = 0; from < lines.length;) {
      const found = lines.indexOf(LF, from);
      const end = found === -1 ? lines.length : found;
      this.#add(lines.subarray(from, end));
      from = end + 1;
    }
  }

  #add(row: Buffer): void {
    const outcome = outcomeOf(row);
    if (outcome === undefined) return;
    if ('error' in outcome) {
      this.failed++;
      const { code, message } = outcome.error;
      this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
      if (this.first.length < SHOWN) this.first.push({ line: lineOf(row), message });
      return;
    }
    const { label, score, truncated } = outcome;
    this.labelled++;
    this.#scores += score;
    if (truncated) this.truncated++;
    const rows = this.labels.get(label);
    if (rows === undefined && this.labels.size === MAX_LABELS) this.otherLabels++;
    else this.labels.set(label, (rows ?? 0) + 1);
  }

  clear(): void {
    this.first.length = 0;
    this.labels.clear();
    this.errors.clear();
    this.otherLabels = 0;
    this.labelled = 0;
    this.failed = 0;
    this.truncated = 0;
    this.#scores = 0;
  }
}

/** Begins of the outcome in a row. In a field of the input such bytes come before; in a string its quotes are escaped. */
const LABEL = Buffer.from(',"label":"');
const ERROR = Buffer.from(',"error":{"code":"');

/** Index at which the label or the error of a row begins, behind all fields of the input; -1 without any. */
export function outcomeStart(row: Buffer): number {
  return Math.max(row.lastIndexOf(LABEL), row.lastIndexOf(ERROR));
}

/** @returns undefined for a line that is no row */
function outcomeOf(row: Buffer): RowResult | undefined {
  const start = outcomeStart(row);
  if (start === -1) return undefined;
  try {
    return JSON.parse(`{${row.toString('utf8', start + 1)}`) as RowResult;
  } catch {
    return undefined;
  }
}

const lineOf = (row: Buffer): number =>
  Number(/^\{"line":(\d+)/.exec(row.toString('latin1', 0, 40))?.[1] ?? 0);
