/**
 * Selects rows of an input to try a model on: the first ones (--limit), or some at random (--sample). Lines in the results stay those
 * of the input, and the same options select the same rows again, so that a run can be resumed.
 */
import { Pieces } from '../../../shared/bulk/byte-stream.ts';
import type { InputSpec } from '../../../shared/bulk/input.ts';
import { isEmptyLine, recordScanner } from '../../../shared/bulk/records.ts';
import { UsageError } from '../../terminal/exit.ts';
import { bytes as size } from '../../terminal/units.ts';
import type { ReadingOptions } from './reading.ts';

type Source = AsyncIterable<Uint8Array>;
type Bytes = AsyncGenerator<Uint8Array, void, undefined>;
type Format = Pick<InputSpec, 'format' | 'delimiter' | 'quote'>;

/** @param source without a CSV header */
export function selectRows(source: Source, format: Format, { limit, sample }: ReadingOptions): Source {
  if (sample !== undefined) return sampledRows(source, format, sample);
  return limit === undefined ? source : firstRows(source, format, limit);
}

async function* firstRows(source: Source, format: Format, limit: number): Bytes {
  const scanner = recordScanner(format);
  let rows = 0;
  /** Bytes of the unfinished record in earlier pieces, and the first of them. */
  let carried = 0;
  let first: number | undefined;
  for await (const piece of source) {
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    for (let from = 0; from < bytes.length;) {
      const end = scanner.scan(bytes, from);
      if (carried === 0) first = bytes[from];
      if (end === -1) {
        carried += bytes.length - from;
        break;
      }
      const empty =
        carried === 0 ? isEmptyLine(bytes, from, end) : carried === 1 && first === CR && end - from === 1;
      if (!empty) rows++;
      carried = 0;
      from = end;
      if (rows < limit) continue;
      yield bytes.subarray(0, end);
      return;
    }
    yield bytes;
  }
}

/** The sample is in memory until the input has been read. */
const MAX_SAMPLE_BYTES = 64 * 1024 * 1024;
const LF = 0x0a;
const CR = 0x0d;
export const LINE_FEEDS = Buffer.alloc(64 * 1024, LF);

interface Sampled {
  /** Number of its first line, from 0. */
  line: number;
  lines: number;
  bytes: Uint8Array;
}

/** Reservoir sampling: each row has the same chance, and the number of rows need not be known before. */
async function* sampledRows(source: Source, format: Format, wanted: number): Bytes {
  const random = randomNumbers();
  const chosen: Sampled[] = [];
  let rows = 0;
  let held = 0;
  for await (const record of recordsOf(source, format)) {
    const place = rows < wanted ? rows : Math.floor(random() * (rows + 1));
    rows++;
    if (place >= wanted) continue;
    held += record.bytes.length - (chosen[place]?.bytes.length ?? 0);
    if (held > MAX_SAMPLE_BYTES) {
      throw new UsageError(
        `--sample ${wanted}: the rows have more than ${size(MAX_SAMPLE_BYTES)}; choose fewer`,
      );
    }
    chosen[place] = record;
  }
  let line = 0;
  for (const record of chosen.sort((a, b) => a.line - b.line)) {
    // Empty lines are no rows, but keep the line numbers right.
    for (; line < record.line; line += LINE_FEEDS.length) yield LINE_FEEDS.subarray(0, record.line - line);
    yield record.bytes;
    line = record.line + record.lines;
  }
}

/** Rows of an input, copied out of its pieces. @throws UsageError for a row larger than MAX_SAMPLE_BYTES */
export async function* recordsOf(source: Source, format: Format): AsyncGenerator<Sampled, void, undefined> {
  const scanner = recordScanner(format);
  const unfinished = new Pieces();
  let line = 0;
  const take = (): Sampled | undefined => {
    const bytes = unfinished.take();
    const first = line;
    const lines = scanner.takeLineFeeds();
    line += lines;
    return isEmptyLine(Buffer.from(bytes.buffer)) ? undefined : { line: first, lines, bytes };
  };
  for await (const piece of source) {
    for (let from = 0; from < piece.length;) {
      const end = scanner.scan(piece, from);
      unfinished.add(piece.subarray(from, end === -1 ? piece.length : end));
      if (unfinished.bytes > MAX_SAMPLE_BYTES) {
        throw new UsageError(`the record that begins on line ${line + 1} has no end: is a quote missing?`);
      }
      if (end === -1) break;
      const record = take();
      if (record) yield record;
      from = end;
    }
  }
  if (unfinished.bytes === 0) return;
  unfinished.add(Uint8Array.of(LF));
  const record = take();
  if (record) yield { ...record, lines: record.lines + 1 };
}

/** Numbers in [0, 1), the same in each run: xorshift, of 32 bits. */
function randomNumbers(): () => number {
  let state = 0x9e37_79b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
