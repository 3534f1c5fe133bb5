/**
 * Reads Parquet as JSON Lines: a row becomes a line with its text and id, and the line number in the results is that of the row. Only these
 * two columns are read, a row group at a time.
 */
import { isUtf8 } from 'node:buffer';
import {
  parquetMetadataAsync,
  parquetRead,
  parquetSchema,
  type AsyncBuffer,
  type FileMetaData,
  type SchemaElement,
  type SchemaTree,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { listed } from '../../shared/contract/text.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { BadInputError, UnreadableInputError, UsageError } from '../terminal/exit.ts';
import { bytes } from '../terminal/units.ts';
import type { Input } from './input.ts';

export interface ParquetColumns {
  textField: string;
  /** undefined: `id`, if there is one. */
  idField: string | undefined;
}

/** Largest index at the end of a file; that of 5,000 columns in one row group has 1 MB. */
const MAX_FOOTER_BYTES = 64 * 1024 * 1024;
/** Largest column of a row group, unpacked: it is in memory as a whole. Writers make row groups of 1 to 128 MB. */
const MAX_GROUP_BYTES = 512 * 1024 * 1024;
const PIECE_CHARS = 64 * 1024;
const MAGIC = 'PAR1';
const ENCRYPTED = 'PARE';

/** @throws UsageError, when it is read, for an input that is not Parquet or lacks a column */
export function parquetInput(input: Input, columns: ParquetColumns): Input {
  let progress = 0;
  return {
    ...input,
    position: () => Math.round((input.size ?? 0) * progress),
    read: (signal) => parquetLines(input, columns, signal, (fraction) => (progress = fraction)),
    check: async () => void (await openParquet(input, columns)),
  };
}

interface ParquetFile {
  file: AsyncBuffer;
  metadata: FileMetaData;
  /** Name of the column with ids; undefined without one. */
  id: string | undefined;
  /** Columns to read: the text, then the id if it is another one. */
  columns: string[];
}

/** @throws UsageError for an input that is not Parquet, or lacks a column */
async function openParquet(input: Input, { textField, idField }: ParquetColumns): Promise<ParquetFile> {
  const { name } = input;
  const file = await openBuffer(input);
  const metadata = await readMetadata(file, name);
  const { children } = parquetSchema(metadata);
  checkText(children, textField, name);
  const id = checkId(children, idField, name);
  const columns = id === undefined || id === textField ? [textField] : [textField, id];
  // All of them now: later, a part may be uploaded.
  for (const [i, group] of metadata.row_groups.entries()) checkSize(group, columns, { name, number: i + 1 });
  return { file, metadata, id, columns };
}

async function* parquetLines(
  input: Input,
  wanted: ParquetColumns,
  signal: AbortSignal,
  onProgress: (fraction: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { name } = input;
  const { textField } = wanted;
  const { file, metadata, id, columns } = await openParquet(input, wanted);
  const total = Number(metadata.num_rows);
  let rowStart = 0;
  for (const [i, group] of metadata.row_groups.entries()) {
    signal.throwIfAborted();
    const rowEnd = rowStart + Number(group.num_rows);
    const [texts, ids] = columns.map(() => new Values()) as [Values, Values?];
    try {
      await parquetRead({
        file,
        metadata,
        columns,
        rowStart,
        rowEnd,
        compressors,
        parsers: { stringFromBytes, jsonFromBytes: stringFromBytes },
        onChunk: ({ columnName, columnData }) => (columnName === textField ? texts : ids)?.add(columnData),
      });
    } catch (error) {
      if (error instanceof UnreadableInputError) throw error;
      const reason = toError(error).message;
      throw new BadInputError(
        `${name} has a damaged row group ${i + 1} of ${metadata.row_groups.length}: ${reason}`,
        error,
      );
    }
    const rows = rowEnd - rowStart;
    if (texts.length !== rows || (ids ?? texts).length !== rows) {
      throw new BadInputError(
        `${name} is damaged: row group ${i + 1} has not the ${rows} rows that its index says`,
      );
    }
    yield* linesOf(texts, id === textField ? undefined : ids, { textField, id });
    rowStart = rowEnd;
    onProgress(total === 0 ? 1 : rowStart / total);
  }
  onProgress(1);
}

/** @throws UsageError for an input that is not Parquet */
async function openBuffer({ name, size, slice }: Input): Promise<AsyncBuffer> {
  if (size === undefined || slice === undefined) {
    throw new UsageError(
      `${name} cannot be read as Parquet, whose index is at its end: save it to a file first`,
    );
  }
  const [begin, end] = [await slice(0, 4), await slice(Math.max(0, size - 8), size)].map((part) =>
    Buffer.from(part),
  );
  const marks = [begin, end?.subarray(-4)].map((part) => part?.toString('latin1'));
  if (marks.includes(ENCRYPTED)) throw new UsageError(`${name} is encrypted Parquet: decrypt it first`);
  if (marks[0] !== MAGIC || end === undefined) {
    throw new UsageError(`${name} is not Parquet: name its format with --format ndjson, json, csv or lines`);
  }
  if (marks[1] !== MAGIC || size < 12)
    throw new UsageError(`${name} is cut off: its end, with the index of Parquet, is missing`);
  const footer = end.readUInt32LE(0);
  if (footer > size - 12)
    throw new UsageError(`${name} is damaged: its Parquet index is longer than the file`);
  if (footer > MAX_FOOTER_BYTES) {
    throw new UsageError(
      `${name} has an index of ${bytes(footer)}, and at most ${bytes(MAX_FOOTER_BYTES)} are read: write it again with fewer columns or larger row groups`,
    );
  }
  return {
    byteLength: size,
    slice: async (from, to = size) => {
      const part = await slice(from, to);
      return part.buffer.slice(part.byteOffset, part.byteOffset + part.byteLength) as ArrayBuffer;
    },
  };
}

async function readMetadata(file: AsyncBuffer, name: string): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file, { geoparquet: false });
  } catch (error) {
    if (error instanceof UnreadableInputError) throw error;
    throw new UsageError(`${name} has a damaged Parquet index: ${toError(error).message}`);
  }
}

/** @throws UsageError */
function checkText(columns: readonly SchemaTree[], textField: string, name: string): void {
  const column = columnNamed(columns, textField);
  const strings = columns.filter(isString).map(({ element }) => element.name);
  const likely = strings.find((column) => !/id$/i.test(column)) ?? strings[0];
  const advice = likely === undefined || likely === textField ? '' : `; is it --text-field ${likely}?`;
  if (column === undefined) {
    const names = columns.map(({ element }) => element.name);
    throw new UsageError(`${name}: there is no column "${textField}", but ${listed(names)}${advice}`);
  }
  if (column === 'twice') throw new UsageError(`${name} has two columns "${textField}": rename one`);
  if (!isString(column))
    throw new UsageError(`${name}: the column "${textField}" holds ${kindOf(column)}, not texts${advice}`);
}

/** @returns name of the column with ids; undefined without one */
function checkId(
  columns: readonly SchemaTree[],
  idField: string | undefined,
  name: string,
): string | undefined {
  const wanted = idField ?? 'id';
  const column = columnNamed(columns, wanted);
  if (column === undefined) {
    if (idField === undefined) return undefined;
    throw new UsageError(
      `${name}: there is no column "${wanted}": ${listed(columns.map(({ element }) => element.name))}`,
    );
  }
  if (column === 'twice')
    throw new UsageError(`${name} has two columns "${wanted}": choose another with --id-field`);
  if (isString(column) || isNumber(column) || column.element.logical_type?.type === 'UUID') return wanted;
  throw new UsageError(
    `${name}: the column "${wanted}" holds ${kindOf(column)}, which are no ids: choose another with --id-field`,
  );
}

function columnNamed(columns: readonly SchemaTree[], wanted: string): SchemaTree | 'twice' | undefined {
  const [column, other] = columns.filter(({ element }) => element.name === wanted);
  return other ? 'twice' : column;
}

const isLeaf = ({ element, children }: SchemaTree): boolean =>
  children.length === 0 && element.repetition_type !== 'REPEATED';

const annotation = ({ converted_type: converted, logical_type: logical }: SchemaElement): string =>
  logical?.type ?? converted ?? '';

/** Many writers do not annotate their strings. */
function isString(column: SchemaTree): boolean {
  const { element } = column;
  return (
    isLeaf(column) &&
    element.type === 'BYTE_ARRAY' &&
    /^(?:|STRING|UTF8|ENUM|JSON)$/.test(annotation(element))
  );
}

function isNumber(column: SchemaTree): boolean {
  const { element } = column;
  const plain = /^(?:INT32|INT64|FLOAT|DOUBLE)$/.test(element.type ?? '');
  return isLeaf(column) && plain && /^(?:|U?INT_\d+|INTEGER)$/.test(annotation(element));
}

function kindOf(column: SchemaTree): string {
  const { element } = column;
  const kind = annotation(element);
  if (!isLeaf(column)) return kind === 'MAP' ? 'maps' : kind === 'LIST' ? 'lists' : 'nested records';
  return isNumber(column) ? `numbers (${element.type})` : `${element.type} ${kind}`.trimEnd();
}

/** @throws UsageError for a column that memory may not hold */
function checkSize(
  group: FileMetaData['row_groups'][number],
  columns: readonly string[],
  { name, number }: { name: string; number: number },
): void {
  for (const { meta_data: chunk } of group.columns) {
    const column = chunk?.path_in_schema[0];
    if (!chunk || column === undefined || !columns.includes(column)) continue;
    const size = Number(chunk.total_uncompressed_size);
    if (size <= MAX_GROUP_BYTES) continue;
    throw new UsageError(
      `${name} has ${bytes(size)} of "${column}" in row group ${number}, and at most ${bytes(MAX_GROUP_BYTES)} are read: ` +
        'write it again with smaller row groups (row_group_size=100000 in pandas)',
    );
  }
}

/** A string, or the bytes themselves if they are not UTF-8. */
function stringFromBytes(value: Uint8Array | undefined): string | Uint8Array | undefined {
  if (value === undefined) return undefined;
  return isUtf8(value) ? Buffer.from(value.buffer, value.byteOffset, value.length).toString() : value;
}

/** Values of a column in a row group, in the pieces in which they were unpacked. */
class Values {
  length = 0;
  readonly #pieces: ArrayLike<unknown>[] = [];
  #piece = 0;
  #at = 0;

  add(piece: ArrayLike<unknown>): void {
    this.#pieces.push(piece);
    this.length += piece.length;
  }

  next(): unknown {
    while (this.#at === this.#pieces[this.#piece]?.length) {
      this.#piece++;
      this.#at = 0;
    }
    return this.#pieces[this.#piece]?.[this.#at++];
  }
}

/** @param ids undefined without such a column, or if the texts are the ids */
function* linesOf(
  texts: Values,
  ids: Values | undefined,
  { textField, id }: { textField: string; id: string | undefined },
): Generator<Uint8Array, void, undefined> {
  const idName = id ?? 'id';
  let lines = '';
  for (let left = texts.length; left > 0; left--) {
    const text = texts.next() ?? null;
    const idValue = idOf(ids?.next() ?? undefined);
    if (text instanceof Uint8Array || idValue instanceof Uint8Array) {
      yield Buffer.from(lines);
      yield NOT_UTF8;
      lines = '';
      continue;
    }
    const record = idValue === undefined ? { [textField]: text } : { [idName]: idValue, [textField]: text };
    lines += `${JSON.stringify(record)}\n`;
    if (lines.length < PIECE_CHARS) continue;
    yield Buffer.from(lines);
    lines = '';
  }
  if (lines !== '') yield Buffer.from(lines);
}

/** A line that becomes the error row of bytes that are not UTF-8. */
const NOT_UTF8 = Buffer.from([0xff, 0x0a]);

/** An integer of 64 bits as a string: JSON would round it. */
function idOf(value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}
