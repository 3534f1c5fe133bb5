/**
 * Reads Parquet as JSON Lines: a row becomes a line with its text, its id and the columns to keep, and the line number in the results is that
 * of the row. Only these columns are read, a page at a time.
 */
import {
  parquetMetadataAsync,
  parquetSchema,
  type AsyncBuffer,
  type DecodedArray,
  type FileMetaData,
  type SchemaElement,
  type SchemaTree,
} from 'hyparquet';
import { listed } from '../../../shared/contract/text.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import { BadInputError, ChangedInputError, UnreadableInputError, UsageError } from '../../terminal/exit.ts';
import { bytes } from '../../terminal/units.ts';
import type { Input } from './input.ts';
import type { OutputOptions } from '../output/output-options.ts';
import { isText, pagesOf, rangeOf } from './parquet-pages.ts';
import { codecOf, type ColumnType } from './parquet-values.ts';

export interface ParquetColumns {
  textField: string;
  /** undefined: `id`, if there is one. */
  idField: string | undefined;
  /** Columns that stay beside the labels. */
  keep: OutputOptions['keep'];
}

/** Largest index at the end of a file; that of 5,000 columns in one row group has 1 MB. */
const MAX_FOOTER_BYTES = 64 * 1024 * 1024;
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
    check: async () => {
      const { metadata, names } = await openParquet(input, columns);
      return { rows: Number(metadata.num_rows), columns: names };
    },
    types: async () => typesOf(await openParquet(input, columns)),
  };
}

type Slice = NonNullable<Input['slice']>;

interface ParquetFile {
  slice: Slice;
  metadata: FileMetaData;
  /** Columns to read, in the order in which they stand in the lines. */
  columns: WantedColumn[];
  /** Of all columns. */
  names: string[];
}

interface WantedColumn {
  column: SchemaTree;
  role: 'text' | 'id' | 'kept';
  /** Writes a value other than null. */
  toJson: (value: unknown) => string;
}

/** @throws UsageError for an input that is not Parquet, or lacks a column */
async function openParquet(input: Input, { textField, idField, keep }: ParquetColumns): Promise<ParquetFile> {
  const { name } = input;
  const { file, slice } = await openBuffer(input);
  const metadata = await readMetadata(file, name);
  const { children } = parquetSchema(metadata);
  const text = checkText(children, textField, name);
  const id = checkId(children, idField, name);
  const kept = keep === undefined ? [] : keptColumns(children, keep, name);
  const known: WantedColumn[] = [
    ...(id === undefined || id === text ? [] : [{ column: id, role: 'id' as const, toJson: idJson }]),
    { column: text, role: 'text', toJson: JSON.stringify },
  ];
  const names = children.map(({ element }) => element.name);
  const place = ({ column: { element } }: WantedColumn) => names.indexOf(element.name);
  const own = new Set(known.map(place));
  const others = kept.filter((column) => !own.has(place(column)));
  // Without others, lines are those of earlier versions, which may have uploaded some of them.
  const columns = others.length === 0 ? known : [...known, ...others].sort((a, b) => place(a) - place(b));
  const trees = columns.map(({ column }) => column);
  return { slice: planned(slice, input, metadata, trees), metadata, columns, names };
}

/** @throws UsageError for a column that is not there, or cannot be kept */
function keptColumns(
  columns: readonly SchemaTree[],
  keep: 'all' | readonly string[],
  name: string,
): WantedColumn[] {
  const names = columns.map(({ element }) => element.name);
  return (keep === 'all' ? names : keep).map((wanted) => {
    const column = columnNamed(columns, wanted);
    if (column === undefined)
      throw new UsageError(`${name}: --keep names "${wanted}", but there is only ${listed(names)}`);
    if (column === 'twice')
      throw new UsageError(`${name} has two columns "${wanted}": rename one, or name others with --keep`);
    const codec = isLeaf(column) ? codecOf(column.element) : undefined;
    if (!codec) {
      throw new UsageError(
        `${name}: the column "${wanted}" holds ${kindOf(column)}, which cannot be kept: name others with --keep a,b`,
      );
    }
    return { column: { ...column, element: codec.raw }, role: 'kept' as const, toJson: codec.toJson };
  });
}

/** Types of the columns, by name. */
const typesOf = ({ metadata, columns }: ParquetFile): Record<string, ColumnType> => {
  const elements = parquetSchema(metadata).children.map(({ element }) => element);
  const types = columns.flatMap(({ column: { element } }) => {
    const original = elements.find(({ name }) => name === element.name);
    const written = original && codecOf(original)?.written;
    return written ? [[element.name, written]] : [];
  });
  return Object.fromEntries(types) as Record<string, ColumnType>;
};

async function* parquetLines(
  input: Input,
  wanted: ParquetColumns,
  signal: AbortSignal,
  onProgress: (fraction: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { name } = input;
  const { slice, metadata, columns } = await openParquet(input, wanted);
  const total = Number(metadata.num_rows);
  const { row_groups: groups } = metadata;
  let done = 0;
  for (const [i, group] of groups.entries()) {
    const rows = Number(group.num_rows);
    try {
      const values = columns.map(({ column, role, toJson }) => ({
        key: `${JSON.stringify(column.element.name)}:`,
        role,
        toJson,
        values: new Values(pagesOf({ slice, ...chunkOf(group, column), columns: columns.length })),
      }));
      for await (const { bytes: piece, row } of linesOf(values, rows)) {
        signal.throwIfAborted();
        yield piece;
        onProgress((done + row) / Math.max(total, 1));
      }
    } catch (error) {
      if (error instanceof UnreadableInputError || error instanceof ChangedInputError) throw error;
      if (error === signal.reason) throw error;
      const reason = toError(error).message;
      throw new BadInputError(
        `${name} has a damaged row group ${i + 1} of ${groups.length}: ${reason}`,
        error,
      );
    }
    done += rows;
  }
  onProgress(1);
}

/** The part of a column in a row group. @throws Error when it is missing, or not as long as the group */
function chunkOf(group: FileMetaData['row_groups'][number], column: SchemaTree) {
  const { name } = column.element;
  const found = group.columns.find(({ meta_data: chunk }) => chunk?.path_in_schema[0] === name);
  if (found?.meta_data === undefined) throw new Error(`it has no column "${name}"`);
  if (found.file_path !== undefined) throw new Error(`its column "${name}" is in another file`);
  if (found.meta_data.num_values !== group.num_rows)
    throw new Error(`its column "${name}" has not the ${group.num_rows} rows that the index says`);
  return { chunk: found.meta_data, column };
}

/** @throws UsageError for an input that is not Parquet */
async function openBuffer({ name, size, slice }: Input): Promise<{ file: AsyncBuffer; slice: Slice }> {
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
  const file = {
    byteLength: size,
    slice: async (from: number, to = size) => {
      const part = await slice(from, to);
      return part.buffer.slice(part.byteOffset, part.byteOffset + part.byteLength) as ArrayBuffer;
    },
  };
  return { file, slice };
}

/** Reads the columns of small row groups of a remote file ahead. */
function planned(
  slice: Slice,
  { readAhead }: Input,
  { row_groups: groups }: FileMetaData,
  columns: readonly SchemaTree[],
): Slice {
  if (!readAhead) return slice;
  const names = new Set(columns.map(({ element }) => element.name));
  return readAhead(
    groups.map(({ columns: chunks }) =>
      chunks.flatMap(({ meta_data: chunk }) =>
        chunk && names.has(chunk.path_in_schema[0] ?? '') ? [rangeOf(chunk)] : [],
      ),
    ),
  );
}

async function readMetadata(file: AsyncBuffer, name: string): Promise<FileMetaData> {
  try {
    return await parquetMetadataAsync(file, { geoparquet: false });
  } catch (error) {
    if (error instanceof UnreadableInputError || error instanceof ChangedInputError) throw error;
    throw new UsageError(`${name} has a damaged Parquet index: ${toError(error).message}`);
  }
}

/** @throws UsageError */
function checkText(columns: readonly SchemaTree[], textField: string, name: string): SchemaTree {
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
  return column;
}

/** @returns the column with ids; undefined without one */
function checkId(
  columns: readonly SchemaTree[],
  idField: string | undefined,
  name: string,
): SchemaTree | undefined {
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
  if (isString(column) || isNumber(column) || column.element.logical_type?.type === 'UUID') return column;
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

const isString = (column: SchemaTree): boolean => isLeaf(column) && isText(column.element);

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

/** Values of a column in a row group, a page in memory at a time. */
class Values {
  readonly #pages: AsyncIterator<DecodedArray>;
  #page: DecodedArray = [];
  #at = 0;

  constructor(pages: AsyncIterator<DecodedArray>) {
    this.#pages = pages;
  }

  /** Values that are in memory; reads the next page if there are none. 0 at the end. */
  async ready(): Promise<number> {
    while (this.#at === this.#page.length) {
      const next = await this.#pages.next();
      if (next.done === true) return 0;
      this.#page = next.value;
      this.#at = 0;
    }
    return this.#page.length - this.#at;
  }

  next(): unknown {
    return (this.#page as ArrayLike<unknown>)[this.#at++];
  }
}

/** A column of a row group. */
interface GroupColumn extends Omit<WantedColumn, 'column'> {
  /** Its name as a member of a JSON object, with the colon. */
  key: string;
  values: Values;
}

/** @returns whole lines, and how many rows of the group have been read with them */
async function* linesOf(
  columns: readonly GroupColumn[],
  rows: number,
): AsyncGenerator<{ bytes: Uint8Array; row: number }, void, undefined> {
  let lines = '';
  for (let row = 0; row < rows;) {
    let ready = rows - row;
    for (const { values } of columns) ready = Math.min(ready, await values.ready());
    if (ready === 0) throw new Error(`it has ${row} of ${rows} rows`);
    for (const end = row + ready; row < end; row++) {
      const line = nextLine(columns);
      if (line === undefined) {
        yield { bytes: Buffer.concat([Buffer.from(lines), NOT_UTF8]), row };
        lines = '';
        continue;
      }
      lines += line;
      if (lines.length < PIECE_CHARS) continue;
      yield { bytes: Buffer.from(lines), row };
      lines = '';
    }
  }
  if (lines !== '') yield { bytes: Buffer.from(lines), row: rows };
}

/** @returns undefined when a text or an id is not UTF-8 */
function nextLine(columns: readonly GroupColumn[]): string | undefined {
  let members = '';
  let isText = true;
  for (const { key, role, toJson, values } of columns) {
    const value = values.next() ?? undefined;
    if (role !== 'kept' && value instanceof Uint8Array) isText = false;
    // Null is no id.
    if (role === 'id' && value === undefined) continue;
    members += `${members === '' ? '' : ','}${key}${value === undefined ? 'null' : toJson(value)}`;
  }
  return isText ? `{${members}}\n` : undefined;
}

/** A line that becomes the error row of bytes that are not UTF-8. */
const NOT_UTF8 = Buffer.from([0xff, 0x0a]);

/** An integer of 64 bits as a string: JSON would round it. */
const idJson = (value: unknown): string => JSON.stringify(typeof value === 'bigint' ? String(value) : value);
