/**
 * Joins the records of several sources into one input, in their order, as if they were one file: CSV headers after the first are left out,
 * and no record continues in the next source. Only one source is open at a time.
 */
import type { BatchOptions } from '../../../client/batches.ts';
import { peek } from '../../../shared/bulk/byte-stream.ts';
import { recordScanner } from '../../../shared/bulk/records.ts';
import type { RecordScanner } from '../../../shared/bulk/record-scanner.ts';
import type { InputSpec } from '../../../shared/bulk/input.ts';
import { takeCsvHeader } from './header.ts';
import type { Input } from './input.ts';
import type { LineRange } from '../upload/parts.ts';
import type { Place } from './places.ts';
import type { OutputOptions } from '../output/output-options.ts';
import type { ConvertedFormat, ReadingOptions } from './reading.ts';
import { openRecords, specOf } from './records.ts';
import type { Source } from './source.ts';

/** A source, and the format that it is converted from. */
export type PlannedSource = Source & { format?: ConvertedFormat | undefined };

export function joinedInput(
  sources: readonly PlannedSource[],
  reading: ReadingOptions,
  options: BatchOptions,
  keep?: OutputOptions['keep'],
): Input {
  const spec = specOf(options);
  const places: Place[] = [];
  const unclosed: (LineRange & { name: string })[] = [];
  let finishedBytes = 0;
  let current: Input | undefined;
  /** Number of the next line of the joined input. */
  let line = 1;

  async function* read(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    let isFirst = true;
    for (const source of sources) {
      signal.throwIfAborted();
      current = await openRecords(source, { ...reading, format: source.format }, options, keep);
      try {
        const { head, stream } = await peek(current.read(signal), 1);
        if (head.length > 0) {
          yield* recordsOf(source, stream, isFirst);
          isFirst = false;
        }
      } finally {
        current.close();
        current = undefined;
        finishedBytes += source.size ?? 0;
      }
    }
  }

  /** @param keepHeader pass on the header of CSV */
  async function* recordsOf(
    { name }: Source,
    stream: AsyncGenerator<Uint8Array, void, undefined>,
    keepHeader: boolean,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let [first, rest] = [1, stream];
    if (spec.format === 'csv') {
      const header = await takeCsvHeader(stream, spec, name);
      [first, rest] = [header.firstLine, header.rest];
      if (keepHeader) {
        yield Buffer.from(`${header.columns}\n`);
        line += header.columns.split('\n').length;
      }
    }
    places.push({ name, from: line, first });
    const ends = new RecordEnds(spec);
    for await (const bytes of rest) {
      ends.see(bytes);
      yield bytes;
    }
    const { ending, lines, open } = ends.end();
    if (ending !== undefined) yield Buffer.from(ending);
    if (open) unclosed.push({ name, from: first + open.from, to: first + open.to });
    line += lines;
  }

  return {
    name: sources[0]?.name ?? '',
    size: sources.reduce((sum, { size = 0 }) => sum + size, 0),
    identity: undefined,
    compression: () => current?.compression(),
    position: () => finishedBytes + (current?.position() ?? 0),
    close: () => current?.close(),
    read,
    places,
    unclosed,
  };
}

/** Ends an open quoted field so that its record is an error: something behind the closing quote. */
const CLOSE_AS_ERROR = '"!\n';
const LF = 0x0a;

/** Follows the records of a source, to end the last one. */
class RecordEnds {
  readonly #scanner: RecordScanner;
  #last: number | undefined;

  constructor(spec: InputSpec) {
    this.#scanner = recordScanner(spec);
  }

  see(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const end = this.#scanner.scan(bytes, from);
      if (end === -1) break;
      from = end;
    }
    this.#last = bytes.at(-1) ?? this.#last;
  }

  /** The ending that is missing, the number of lines with it, and the lines of an unclosed quoted field, counted from 0. */
  end(): { ending: string | undefined; lines: number; open: LineRange | undefined } {
    const { inQuotes, openedAfter } = this.#scanner;
    const lineFeeds = this.#scanner.takeLineFeeds();
    const isWhole = this.#last === undefined || this.#last === LF;
    const ending = inQuotes ? CLOSE_AS_ERROR : isWhole ? undefined : '\n';
    const open = inQuotes ? { from: openedAfter, to: isWhole ? lineFeeds - 1 : lineFeeds } : undefined;
    return { ending, lines: lineFeeds + (ending === undefined ? 0 : 1), open };
  }
}
