/** Progress and messages on standard error: a line redrawn in place on a terminal, a line every ten seconds elsewhere. */
import { styleText } from 'node:util';
import { printable } from '../../shared/runtime/printable.ts';
import { progressLine, type BarStyle, type Progress } from './progress-line.ts';

export interface Reporter {
  /** Shows the progress that `view` returns, again and again. */
  watch: (view: () => Progress) => void;
  /** Stops showing progress. */
  unwatch: () => void;
  /** Writes a line that stays. */
  log: (line: string) => void;
  /** Writes a line about a problem, even with --quiet. */
  warn: (line: string) => void;
}

type Stream = NodeJS.WriteStream & { columns?: number };

const DRAW_MS = 200;
const LINE_MS = 10_000;
const DEFAULT_COLUMNS = 80;
const MIN_COLUMNS = 20;
/** Room for the ^C that a terminal echoes, and for the last column, after which some terminals wrap. */
const MARGIN = 3;

export function createReporter(stream: Stream, quiet: boolean): Reporter {
  if (quiet) {
    const warn = (line: string) => void stream.write(warning(line));
    return { watch: () => {}, unwatch: () => {}, log: () => {}, warn };
  }
  return stream.isTTY ? new TerminalReporter(stream) : new LineReporter(stream);
}

class TerminalReporter implements Reporter {
  readonly #stream: Stream;
  readonly #style: BarStyle;
  #timer: NodeJS.Timeout | undefined;
  #view: (() => Progress) | undefined;
  readonly #draw = () => {
    if (this.#view) this.#stream.write(`\r${this.#line(this.#view())}${CLEAR_REST}`);
  };

  constructor(stream: Stream) {
    this.#stream = stream;
    // styleText omits colours for NO_COLOR or a terminal without them; the two parts of the bar differ without colours, too.
    this.#style = {
      done: (cells) => styleText('green', cells, { stream }),
      left: (cells) => styleText('dim', cells, { stream }),
    };
  }

  watch(view: () => Progress): void {
    this.#view = view;
    this.#draw();
    if (this.#timer) return;
    this.#timer = setInterval(this.#draw, DRAW_MS);
    this.#stream.on('resize', this.#draw);
  }

  unwatch(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#stream.off('resize', this.#draw);
    if (this.#view) this.#stream.write(`\r${CLEAR_REST}`);
    this.#view = undefined;
  }

  log(line: string): void {
    this.#stream.write(this.#view ? `\r${CLEAR_REST}${printable(line)}\n` : `${printable(line)}\n`);
    this.#draw();
  }

  warn(line: string): void {
    this.unwatch();
    this.#stream.write(styleText('red', warning(line).trimEnd(), { stream: this.#stream }) + '\n');
  }

  #line(progress: Progress): string {
    const columns = Math.max(MIN_COLUMNS, this.#stream.columns || DEFAULT_COLUMNS);
    return progressLine(progress, columns - MARGIN, this.#style);
  }
}

const warning = (line: string): string => `amulet: ${printable(line)}\n`;

const CLEAR_REST = '\x1b[K';

class LineReporter implements Reporter {
  readonly #stream: Stream;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  watch(view: () => Progress): void {
    this.unwatch();
    const write = () => this.log(progressLine(view(), Infinity));
    write();
    this.#timer = setInterval(write, LINE_MS);
  }

  unwatch(): void {
    clearInterval(this.#timer);
  }

  log(line: string): void {
    this.#stream.write(`${printable(line)}\n`);
  }

  warn(line: string): void {
    this.#stream.write(warning(line));
  }
}
