/** Makes the finished output of the results: a table or JSON Lines, compressed or not. */
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setFlagsFromString } from 'node:v8';
import * as zlib from 'node:zlib';
import { cellOf } from '../../../shared/bulk/kept-fields.ts';
import { columnNames, rowCells } from '../../../shared/bulk/result-table.ts';
import { tableRecord, textField, type TableOptions } from '../../../shared/bulk/table.ts';
import type { Conversion } from './destination.ts';
import {
  compressionOf,
  formatOf,
  isConverted,
  type OutputCompression,
  type OutputOptions,
} from './output-options.ts';
import { countLines } from './output.ts';
import {
  findColumns,
  linesOf,
  otherFields,
  readRow,
  type OutputColumns,
  type OutputRow,
  type RowsOrigin,
} from './output-rows.ts';

type Rows = () => AsyncIterable<Buffer>;
type Bytes = AsyncIterable<Uint8Array>;

/**
 * @param origin with the header of a CSV
 * @param signal ends the conversion
 * @param onRows called with the number of rows that have been converted
 * @returns undefined when the results are the output
 */
export function conversion(
  output: OutputOptions,
  origin: RowsOrigin,
  signal: AbortSignal,
  onRows: (rows: number) => void = () => {},
): Conversion | undefined {
  if (!isConverted(output)) return undefined;
  return (rows) => {
    // Values wait for their row group, which V8 takes for a reason to let the space of new objects grow: 330 MB of memory, not 200.
    setFlagsFromString('--semi-space-growth-factor=1');
    const watched = () => untilAborted(rows(), signal);
    const bytes = formatted(watched, output, origin, onRows);
    const compression = compressionOf(output);
    return compression === undefined ? bytes : compressed(bytes, compression);
  };
}

async function* untilAborted(pieces: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator<Buffer> {
  for await (const piece of pieces) {
    signal.throwIfAborted();
    yield piece;
  }
}

async function* counted(
  pieces: AsyncIterable<Buffer>,
  onRows: (rows: number) => void,
): AsyncGenerator<Buffer> {
  let rows = 0;
  for await (const piece of pieces) {
    yield piece;
    rows += countLines(piece);
    onRows(rows);
  }
}

async function* formatted(
  rows: Rows,
  output: OutputOptions,
  origin: RowsOrigin,
  onRows: (rows: number) => void,
): AsyncGenerator<Uint8Array> {
  const format = formatOf(output);
  if (format === 'ndjson') {
    yield* counted(rows(), onRows);
    return;
  }
  const columns = await findColumns(rows, output, origin);
  const withKept = output.keep !== undefined;
  if (format === 'parquet') {
    // Loaded only for Parquet: the command starts faster without it.
    const { parquetBytes } = await import('./parquet-output.ts');
    yield* parquetBytes(counted(rows(), onRows), columns, withKept);
    return;
  }
  yield* tableBytes(counted(rows(), onRows), columns, withKept, {
    delimiter: format === 'tsv' ? '\t' : ',',
    raw: output.raw_csv ?? false,
  });
}

async function* tableBytes(
  rows: AsyncIterable<Buffer>,
  columns: OutputColumns,
  withKept: boolean,
  table: TableOptions,
): AsyncGenerator<Buffer> {
  const text = (value: string) => textField(value, table);
  yield Buffer.from(tableRecord(columnNames(columns).map(text), table));
  for await (const piece of rows) {
    let records = '';
    for (const line of linesOf(piece)) records += record(readRow(line, withKept), columns, text, table);
    yield Buffer.from(records);
  }
}

function record(
  { result, kept }: OutputRow,
  columns: OutputColumns,
  text: (value: string) => string,
  table: TableOptions,
): string {
  const cell = (name: string): string => {
    const json = kept?.get(name);
    return json === undefined ? '' : cellOf(json, text);
  };
  const cells = {
    id: kept?.has('id') ? cell('id') : undefined,
    values: columns.names.map(cell),
    others: (kept && columns.others ? otherFields(kept, columns.names) : undefined) ?? '',
  };
  return tableRecord(rowCells(result, cells, columns, text), table);
}

const COMPRESSORS: Record<OutputCompression, () => Duplex> = {
  gzip: () => zlib.createGzip(),
  zstd: () => zlib.createZstdCompress(),
};

export async function* compressed(bytes: Bytes, compression: OutputCompression): AsyncGenerator<Uint8Array> {
  const stream = COMPRESSORS[compression]();
  const fed = pipeline(bytes, stream);
  // The stream fails with the same error.
  fed.catch(() => {});
  yield* stream as AsyncIterable<Buffer>;
  await fed;
}
