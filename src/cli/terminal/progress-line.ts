/** The progress line, fitted to any width. */
import { printable } from '../../shared/runtime/printable.ts';
import { bytes, count, duration, LABEL_WIDTH, rate } from './units.ts';

export interface Progress {
  /** The activity, such as `Uploading`. */
  label: string;
  unit: 'bytes' | 'rows';
  done: number;
  /** Undefined when unknown. */
  total: number | undefined;
  /** Per second. */
  rate?: number | undefined;
  etaS?: number | undefined;
  /** Rows that carry errors. */
  failed?: number | undefined;
  /** Shares of the labels so far, largest first, where the line has room beside its bar. */
  shares?: readonly string[] | undefined;
  /** The reason for a delay, shown in place of the figures. */
  delay?: string | undefined;
}

const MIN_BAR = 8;
const WIDE_BAR = 16;
const MAX_BAR = 30;

/** Labels at the end of a line. */
const SHOWN_SHARES = 5;

/** Styles of the two parts of a bar, such as colours; they must not add width. */
export interface BarStyle {
  done: (cells: string) => string;
  left: (cells: string) => string;
}

/**
 * @param columns maximum width, at least 20
 * @param style draws a bar; undefined for none
 */
export function progressLine(progress: Progress, columns: number, style?: BarStyle): string {
  const { label, total, done, delay } = progress;
  const fraction = total === undefined ? undefined : total === 0 ? 1 : Math.min(1, done / total);
  const percent = fraction === undefined ? '' : ` ${`${Math.floor(fraction * 100)}%`.padStart(4)}`;
  const start = label.padEnd(LABEL_WIDTH);
  if (delay !== undefined) return shorten(`${start}${percent}  ${printable(delay)}`, columns);

  let left = columns - start.length - percent.length;
  const segments = figures(progress);
  // The most important segments get their room first. Only the shortest text of a segment may take the room of the bar.
  const barRoom = style === undefined || fraction === undefined ? 0 : MIN_BAR + 1;
  for (const segment of segments.toSorted((a, b) => a.rank - b.rank)) {
    const shortest = segment.spare ? undefined : segment.texts.at(-1);
    const room = segment.spare && barRoom > 0 ? WIDE_BAR + 1 : barRoom;
    const text = segment.texts.find(
      (candidate) => candidate.length + 2 <= left - (candidate === shortest ? 0 : room),
    );
    segment.shown = text;
    left -= text === undefined ? 0 : text.length + 2;
  }
  const cells = Math.min(left - 1, MAX_BAR);
  const bar =
    style === undefined || fraction === undefined || cells < MIN_BAR
      ? ''
      : ` ${drawBar(fraction, cells, style)}`;
  const shown = segments.flatMap((segment) => segment.shown ?? []);
  return [start + bar + percent, ...shown].join('  ');
}

interface Segment {
  /** 1 is dropped last. */
  rank: number;
  /** Alternatives, longest first. */
  texts: string[];
  /** Shown only beside a wide bar. */
  spare?: boolean;
  shown?: string | undefined;
}

/** In the order of display. */
function figures({ unit, done, total, rate: perSecond, etaS, failed, shares = [] }: Progress): Segment[] {
  const segments: Segment[] = [];
  if (unit === 'rows') {
    const counts = total === undefined ? count(done) : `${count(done)}/${count(total)}`;
    segments.push({ rank: 4, texts: [`${counts} rows`, counts] });
  } else {
    segments.push({
      rank: 4,
      texts: [total === undefined ? bytes(done) : `${bytes(done)} of ${bytes(total)}`],
    });
  }
  if (perSecond !== undefined) {
    segments.push({ rank: 3, texts: [unit === 'rows' ? rate(perSecond) : `${bytes(perSecond)}/s`] });
  }
  if (etaS !== undefined) segments.push({ rank: 1, texts: [`ETA ${duration(etaS)}`] });
  if (failed !== undefined && failed > 0) {
    segments.push({ rank: 2, texts: [`${count(failed)} error${failed === 1 ? '' : 's'}`] });
  }
  const shown = shares.slice(0, SHOWN_SHARES).map(printable);
  if (shown.length > 0)
    segments.push({
      rank: 5,
      texts: shown.map((_, i) => shown.slice(0, shown.length - i).join(', ')),
      spare: true,
    });
  return segments;
}

function drawBar(fraction: number, cells: number, { done, left }: BarStyle): string {
  const full = Math.floor(fraction * cells);
  return done('━'.repeat(full)) + left('─'.repeat(cells - full));
}

function shorten(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, columns - 1)}…`;
}
