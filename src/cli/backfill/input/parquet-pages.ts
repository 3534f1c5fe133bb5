/**
 * Reads a column of a Parquet row group page by page. A page has about 1 MB; hyparquet reads all pages of the group at once, which
 * takes 300 MB for 300,000 texts and grows with the group. Only flat columns: a value a row.
 */
import { isUtf8 } from 'node:buffer';
import type { ColumnMetaData, DecodedArray, PageHeader, SchemaElement, SchemaTree } from 'hyparquet';
import { parquetHeader, readPage } from 'hyparquet/src/column.js';
import { convert, DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { decompressPage } from 'hyparquet/src/datapage.js';
import { readRleBitPackedHybrid } from 'hyparquet/src/encoding.js';
import { compressors } from 'hyparquet-compressors';
import { bytes } from '../../terminal/units.ts';

export interface PagedColumn {
  /** Reads a range of the file; fewer bytes where the file ends. */
  slice: (start: number, end: number) => Promise<Uint8Array>;
  chunk: ColumnMetaData;
  column: SchemaTree;
  /** Columns that are read at the same time. */
  columns: number;
}

type Decoder = Parameters<typeof readPage>[2];

/** Bytes to read at a time: several pages; fewer of each column when there are many. */
const WINDOW_BYTES = 2 * 1024 * 1024;
const WINDOWS_BYTES = 16 * 1024 * 1024;
/** Headers are smaller, except for those with long values in their statistics. */
const HEADER_BYTES = 16 * 1024;
/** Largest page, unpacked. Writers make pages of 1 MB; those of DuckDB may have 100 MB. */
const MAX_PAGE_BYTES = 256 * 1024 * 1024;

/** The values in order, a page at a time or less. Texts that are not UTF-8 stay bytes. @throws Error for damaged data */
export async function* pagesOf({
  slice,
  chunk,
  column,
  columns,
}: PagedColumn): AsyncGenerator<DecodedArray, void, undefined> {
  const { element } = column;
  const decoder: Decoder = {
    ...chunk,
    pathInSchema: chunk.path_in_schema,
    element,
    schemaPath: [ROOT, column],
    parsers: {
      ...DEFAULT_PARSERS,
      stringFromBytes,
      jsonFromBytes: stringFromBytes,
      // A Date has milliseconds.
      timestampFromNanoseconds: (nanoseconds: bigint) => nanoseconds,
    },
    compressors,
  };
  const { start, end } = rangeOf(chunk);
  const window = new Window(slice, end, Math.min(WINDOW_BYTES, WINDOWS_BYTES / columns));
  let dictionary: DecodedArray | undefined;
  let left = Number(chunk.num_values);
  for (let at = start; left > 0;) {
    const { header, length } = await readHeader(window, at);
    at += length;
    const packed = header.compressed_page_size;
    checkSizes(header, left, window.end - at);
    const view = await window.view(at, packed);
    at += packed;
    const texts = isText(element)
      ? plainTexts(header, new Uint8Array(view.buffer, view.byteOffset, packed), decoder)
      : undefined;
    if (texts) {
      yield* texts;
      left -= countOf(header) ?? 0;
      continue;
    }
    const { data } = readPage({ view, offset: 0 }, header, decoder, dictionary, undefined, 0);
    if (!data) throw new Error('a page has no values');
    if (header.type === 'DICTIONARY_PAGE') dictionary = convert(data, decoder);
    else {
      left -= data.length;
      yield data;
    }
  }
}

/** The bytes of a column in a row group. */
export function rangeOf(chunk: ColumnMetaData): { start: number; end: number } {
  const start = Number(chunk.dictionary_page_offset ?? 0) || Number(chunk.data_page_offset);
  return { start, end: start + Number(chunk.total_compressed_size) };
}

/** Values of a data page; undefined for a dictionary. */
const countOf = ({ data_page_header: v1, data_page_header_v2: v2 }: PageHeader): number | undefined =>
  (v1 ?? v2)?.num_values;

/**
 * The texts of a page that has them one after the other, undefined for any other. hyparquet makes all of them at once, which took 470 MB
 * for a page of 300,000.
 */
function plainTexts(
  { type, uncompressed_page_size: unpacked, data_page_header: v1, data_page_header_v2: v2 }: PageHeader,
  packed: Uint8Array,
  { element, codec }: Decoder,
): Generator<unknown[], void, undefined> | undefined {
  const isOptional = element.repetition_type === 'OPTIONAL';
  if (type === 'DATA_PAGE' && v1?.encoding === 'PLAIN') {
    const page = decompressPage(packed, unpacked, codec, compressors);
    const present = isOptional ? new Uint8Array(v1.num_values) : undefined;
    const reader = { view: viewOf(page), offset: 0 };
    if (present) readRleBitPackedHybrid(reader, 1, present);
    return textsOf(page.subarray(reader.offset), v1.num_values, present);
  }
  if (type === 'DATA_PAGE_V2' && v2?.encoding === 'PLAIN') {
    const levels = v2.definition_levels_byte_length + v2.repetition_levels_byte_length;
    const present = isOptional ? new Uint8Array(v2.num_values) : undefined;
    const reader = { view: viewOf(packed), offset: v2.repetition_levels_byte_length };
    if (present) readRleBitPackedHybrid(reader, 1, present, v2.definition_levels_byte_length);
    const stored = packed.subarray(levels);
    // A page of nulls has no compressed data.
    const isPacked = v2.is_compressed !== false && unpacked > levels;
    const page = isPacked ? decompressPage(stored, unpacked - levels, codec, compressors) : stored;
    return textsOf(page, v2.num_values, present);
  }
  return undefined;
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength);

/** Texts, and bytes of texts, that are made at a time. */
const SLICE_TEXTS = 4096;
const SLICE_BYTES = 256 * 1024;

/** @param present per value 1, or 0 for null; undefined: all are present */
function* textsOf(
  page: Uint8Array,
  count: number,
  present: Uint8Array | undefined,
): Generator<unknown[], void, undefined> {
  const buffer = Buffer.from(page.buffer, page.byteOffset, page.byteLength);
  let texts: unknown[] = [];
  let sliceAt = 0;
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (present?.[i] === 0) texts.push(null);
    else {
      const length = at + 4 <= buffer.length ? buffer.readUInt32LE(at) : Infinity;
      const end = at + 4 + length;
      if (end > buffer.length) throw new Error('a text reaches beyond its page');
      texts.push(textAt(buffer, at + 4, end));
      at = end;
    }
    if (texts.length < SLICE_TEXTS && at - sliceAt < SLICE_BYTES) continue;
    yield texts;
    texts = [];
    sliceAt = at;
  }
  if (texts.length > 0) yield texts;
}

/** The bytes themselves if they are not UTF-8. */
function textAt(buffer: Buffer, from: number, end: number): string | Uint8Array {
  const text = buffer.toString('utf8', from, end);
  return text.includes('\ufffd') && !isUtf8(buffer.subarray(from, end)) ? buffer.subarray(from, end) : text;
}

/** A text of a dictionary, or of a page that hyparquet reads. */
function stringFromBytes(value: Uint8Array | undefined): string | Uint8Array | undefined {
  return value && textAt(Buffer.from(value.buffer, value.byteOffset, value.length), 0, value.length);
}

/** Many writers do not annotate their strings. */
export const isText = ({ type, converted_type: converted, logical_type: logical }: SchemaElement): boolean =>
  type === 'BYTE_ARRAY' && /^(?:|STRING|UTF8|ENUM|JSON)$/.test(logical?.type ?? converted ?? '');

/** Stands for the root of the schema; a flat column is right below it. */
const ROOT: SchemaTree = {
  children: [],
  count: 0,
  element: { name: 'root', repetition_type: 'REQUIRED' },
  path: [],
};

async function readHeader(window: Window, at: number): Promise<{ header: PageHeader; length: number }> {
  for (let wanted = HEADER_BYTES; ; wanted *= 8) {
    const reader = { view: await window.view(at, wanted), offset: 0 };
    try {
      return { header: parquetHeader(reader), length: reader.offset };
    } catch (error) {
      if (at + wanted >= window.end) throw error;
    }
  }
}

/** @param values that the column still lacks @param room bytes up to the end of the column */
function checkSizes(header: PageHeader, values: number, room: number): void {
  const { compressed_page_size: packed, uncompressed_page_size: unpacked } = header;
  if (!(packed >= 0 && packed <= room))
    throw new Error(`a page of ${packed} bytes reaches beyond its column`);
  if (!(unpacked >= 0 && unpacked <= MAX_PAGE_BYTES))
    throw new Error(`a page of ${bytes(unpacked)}, and at most ${bytes(MAX_PAGE_BYTES)} are read`);
  const count = countOf(header);
  if (count !== undefined && !(count >= 0 && count <= values))
    throw new Error(`a page has ${count} values, and its column ${values} more`);
}

/** Bytes of a column chunk, of which some are in memory. */
class Window {
  readonly end: number;
  readonly #slice: PagedColumn['slice'];
  readonly #ahead: number;
  #from = 0;
  #bytes: Uint8Array = new Uint8Array();

  constructor(slice: PagedColumn['slice'], end: number, ahead: number) {
    this.#slice = slice;
    this.end = end;
    this.#ahead = ahead;
  }

  /** From an offset of the file on, `least` bytes or more; fewer where the chunk ends. */
  async view(from: number, least: number): Promise<DataView> {
    const until = Math.min(from + least, this.end);
    if (from < this.#from || until > this.#from + this.#bytes.length) {
      this.#from = from;
      this.#bytes = await this.#slice(from, Math.min(Math.max(until, from + this.#ahead), this.end));
      if (from + this.#bytes.length < until) throw new Error('the file ends within a page');
    }
    const { buffer, byteOffset, byteLength } = this.#bytes;
    const skip = from - this.#from;
    return new DataView(buffer, byteOffset + skip, byteLength - skip);
  }
}
