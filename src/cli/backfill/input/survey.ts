/** Looks into the inputs of a run without reading all of them: formats, fields, first rows, and how many rows there are. */
import type { BatchOptions } from '../../../client/batches.ts';
import { peek } from '../../../shared/bulk/byte-stream.ts';
import type { InputRow } from '../../../shared/bulk/input.ts';
import { SNIFF_BYTES } from '../../../shared/bulk/sniff.ts';
import { fieldsOf } from '../../../shared/bulk/sniff-fields.ts';
import type { Beginning } from './beginning.ts';
import { checkSources, type Looked, type SourceCheck } from './check-sources.ts';
import { firstRows, type FirstRows } from './first-rows.ts';
import type { PlannedSource } from './joined-input.ts';
import type { PlannedInputs } from './planned-input.ts';
import type { ReadingOptions } from './reading.ts';
import { specOf } from './records.ts';
import { suspicions } from './suspicions.ts';

export interface Survey {
  files: SurveyedFile[];
  /** Columns or fields. */
  fields: string[];
  /** Undefined when nothing says how long the input is. */
  rows: number | undefined;
  /** Whether all rows were counted; else their number is estimated from the first ones. */
  isExact: boolean;
  /** Bytes of the texts, estimated from the first ones. */
  textBytes: number | undefined;
  first: InputRow[];
  /** What looks wrong. */
  warnings: string[];
}

export interface SurveyedFile {
  name: string;
  size: number | undefined;
  /** `CSV, gzip, windows-1251` */
  kind: string;
}

/** Read of the first large file, to find out how much longer it is unpacked. */
const RATIO_BYTES = 8 * 1024 * 1024;
/** Bytes that the syntax around a text has. */
const SYNTAX_BYTES = 15;
const SHOWN_DOCUMENTS = 5;

/** @throws UsageError when an input cannot be read */
export async function survey(
  inputs: PlannedInputs,
  check: Pick<SourceCheck, 'explicit' | 'keep' | 'signal'>,
): Promise<Survey> {
  const { sources, options, reading } = inputs;
  const surveyor = new Surveyor(options, reading);
  const onChecked = (source: PlannedSource, looked: Looked) => surveyor.look(source, looked);
  await checkSources(sources, { ...check, reading, options, onChecked });
  return surveyor.result();
}

class Surveyor {
  readonly #options: BatchOptions;
  readonly #reading: ReadingOptions;
  readonly #files: SurveyedFile[] = [];
  readonly #first: InputRow[] = [];
  #fields: string[] = [];
  #warnings: string[] = [];
  #rows: number | undefined = 0;
  #isExact = true;
  /** The rows that were read, and the bytes of their texts. */
  #read = { rows: 0, bytes: 0 };
  /** Decoded bytes for each stored one. */
  #ratio: number | undefined;

  constructor(options: BatchOptions, reading: ReadingOptions) {
    this.#options = options;
    this.#reading = reading;
  }

  async look(source: PlannedSource, looked: Looked): Promise<void> {
    const isFirst = this.#read.rows === 0;
    const beginning = looked.beginning ?? (isFirst ? await beginningOf(looked.rest) : undefined);
    const isDocument = this.#reading.whole_files === true;
    this.#files.push({
      name: looked.input.name,
      size: source.size,
      kind: kindOf(source, looked, this.#options, isDocument),
    });
    if (isDocument && beginning) this.#lookAtDocument(source.id, beginning);
    else await this.#lookAtRecords(source, looked, beginning);
  }

  #lookAtDocument(id: string, { head }: Beginning): void {
    const row = { line: this.#files.length, id, text: head.toString() };
    this.#fields = ['id', 'text'];
    if (this.#first.length < SHOWN_DOCUMENTS) this.#first.push(row);
    this.#note([row]);
    this.#count(1, true);
  }

  async #lookAtRecords(
    source: PlannedSource,
    looked: Looked,
    beginning: Beginning | undefined,
  ): Promise<void> {
    const read = beginning && firstRows(beginning, this.#options);
    if (read && this.#read.rows === 0 && read.rows.length > 0) {
      this.#first.push(...read.rows);
      this.#fields = looked.index?.columns ?? fieldNames(read, beginning, this.#options);
      this.#warnings = suspicions(read, beginning, this.#options);
    }
    this.#note(read?.rows ?? []);
    if (looked.index) this.#count(looked.index.rows, true);
    else if (beginning?.whole === true) this.#count(read?.rows.length ?? 0, true);
    else {
      this.#ratio ??= (await bytesOf(looked.rest)) / looked.input.position();
      const bytes = source.size === undefined ? undefined : source.size * this.#ratio;
      const known = read && read.rows.length > 0 && bytes !== undefined;
      this.#count(known ? (bytes * read.rows.length) / read.bytes : undefined, false);
    }
  }

  #note(rows: readonly InputRow[]): void {
    this.#read = { rows: this.#read.rows + rows.length, bytes: this.#read.bytes + textBytes(rows) };
  }

  #count(rows: number | undefined, isExact: boolean): void {
    this.#rows = this.#rows === undefined || rows === undefined ? undefined : this.#rows + rows;
    this.#isExact &&= isExact;
  }

  result(): Survey {
    const { limit, sample } = this.#reading;
    const most = limit ?? sample ?? Infinity;
    const isCut = this.#rows !== undefined && this.#rows > most;
    const rows = isCut ? most : this.#rows;
    const { rows: read, bytes } = this.#read;
    return {
      files: this.#files,
      fields: this.#fields,
      rows,
      isExact: this.#isExact || isCut,
      textBytes: rows === undefined || read === 0 ? undefined : rows * (bytes / read + SYNTAX_BYTES),
      first: this.#first,
      warnings: this.#warnings,
    };
  }
}

async function beginningOf(stream: AsyncIterable<Uint8Array>): Promise<Beginning> {
  const { head } = await peek(stream, SNIFF_BYTES);
  return { head: Buffer.from(head), whole: head.length < SNIFF_BYTES };
}

function fieldNames({ columns }: FirstRows, { head }: Beginning, options: BatchOptions): string[] {
  return columns.length > 0 ? columns : (fieldsOf(head.toString(), specOf(options))?.names ?? []);
}

const textBytes = (rows: readonly InputRow[]): number =>
  rows.reduce((sum, row) => sum + ('text' in row ? Buffer.byteLength(row.text) : 0), 0);

/** Bytes of a stream, as far as it is read. */
async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  for await (const piece of stream) {
    bytes += piece.length;
    if (bytes >= RATIO_BYTES) break;
  }
  return bytes;
}

function kindOf({ format }: PlannedSource, { input }: Looked, options: BatchOptions, whole = false): string {
  const tabs = options.delimiter === 'tab' ? 'TSV' : `CSV with "${options.delimiter ?? ','}"`;
  const names = { ndjson: 'JSON Lines', csv: tabs, lines: 'lines of text' };
  const converted = { json: 'JSON', parquet: 'Parquet' };
  const kind = whole ? 'a text' : format ? converted[format] : names[options.format];
  return [kind, input.compression(), input.encoding?.()].filter((part) => part !== undefined).join(', ');
}
