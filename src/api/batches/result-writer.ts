/** Writes the results of a batch in another form: joins each with its record, as NDJSON or as a line of a table. */
import { cellOf, type KeptFields, type KeptReader } from '../../shared/bulk/kept-fields.ts';
import type { StoredRecord } from '../../shared/bulk/parse.ts';
import { columnNames, rowCells, type ResultTable } from '../../shared/bulk/result-table.ts';
import { tableRecord, textField, type TableOptions } from '../../shared/bulk/table.ts';
import { endOfString } from '../../shared/contract/json-scan.ts';
import type { RowResult } from '../../shared/contract/results.ts';
import { slicesOf } from '../../shared/runtime/in-slices.ts';
import { DamagedInput } from '../../shared/store/batches/input.ts';
import type { KeptColumns } from './kept-columns.ts';
import type { ResultForm } from './result-form.ts';

export interface ResultWriterOptions {
  form: ResultForm;
  /** Undefined: no column of the input is kept. */
  kept: KeptColumns | undefined;
  /** Tables: whether rows may have ids. */
  hasIds: boolean;
  /** Tables: whether rows have more labels than the best one. */
  hasLabels: boolean;
  /** Tables: labels with a column of scores each. */
  scoreLabels: readonly string[];
}

type Row = { line: number } & RowResult;
type Records = Iterator<StoredRecord, void, undefined>;

export class ResultWriter {
  readonly #options: ResultWriterOptions;
  readonly #table: TableOptions;
  readonly #columns: ResultTable;
  /** Place of the id among the kept columns; -1: it is not kept. */
  readonly #keptId: number;

  constructor(options: ResultWriterOptions) {
    const { form, kept, hasIds, hasLabels, scoreLabels } = options;
    this.#options = options;
    this.#table = { delimiter: form.format === 'tsv' ? '\t' : ',', raw: form.raw };
    this.#keptId = kept?.names.indexOf('id') ?? -1;
    this.#columns = {
      ids: hasIds || this.#keptId !== -1,
      kept: kept?.names.filter((_, i) => i !== this.#keptId) ?? [],
      others: kept?.others ?? false,
      labels: hasLabels,
      scoreLabels,
    };
  }

  /** The first line of a table; empty for NDJSON. */
  get header(): string {
    if (this.#options.form.format === 'ndjson') return '';
    const names = columnNames(this.#columns).map((name) => textField(name, this.#table));
    return tableRecord(names, this.#table);
  }

  /**
   * @param ndjson results of a chunk, or their end, in pieces cut anywhere
   * @param records of the chunk; undefined when no column is kept
   * @throws DamagedInput when a record is not the one that was classified
   */
  async *rows(
    ndjson: AsyncIterable<Uint8Array>,
    chunk: number,
    records: Records | undefined,
  ): AsyncGenerator<Uint8Array> {
    const read = this.#options.kept?.readerFor(chunk);
    let partial = Buffer.alloc(0);
    for await (const piece of ndjson) {
      const bytes = Buffer.concat([partial, piece]);
      const end = bytes.lastIndexOf('\n') + 1;
      partial = bytes.subarray(end);
      const lines = linesOf(bytes.subarray(0, end));
      for await (const slice of slicesOf(this.#each(lines, records, read))) yield Buffer.from(slice.join(''));
    }
  }

  *#each(
    lines: Iterable<string>,
    records: Records | undefined,
    read: KeptReader | undefined,
  ): Generator<string> {
    const { format } = this.#options.form;
    for (const line of lines) {
      const fields = records && read ? this.#fieldsOf(line, records, read) : undefined;
      yield format === 'ndjson' ? this.#object(line, fields) : this.#tableRow(line, fields);
    }
  }

  /** The kept fields of the record of a result. @returns undefined when the record cannot be read, which its result says, too */
  #fieldsOf(result: string, records: Records, read: KeptReader): KeptFields | undefined {
    const line = Number(LINE.exec(result)?.[1]);
    let next = records.next();
    while (next.done !== true && next.value.lines.first < line) next = records.next();
    if (next.done === true || next.value.lines.first !== line)
      throw new DamagedInput(`the record on line ${line} of its input is no longer there`);
    const fields = read(next.value);
    if (!fields && !UNREADABLE.test(result))
      throw new DamagedInput(`the record on line ${line} of its input is not the one that was stored`);
    return fields;
  }

  /** A result as it is stored, with the kept fields behind line and id. */
  #object(result: string, fields: KeptFields | undefined): string {
    const { kept } = this.#options;
    if (!kept || !fields) return `${result}\n`;
    const idAt = LINE.exec(result)?.[0].length ?? 0;
    let at = idAt;
    if (result.startsWith(ID, at)) at = endOfString(result, at + ID.length - 1) + 1;
    let id = result.slice(idAt, at);
    let members = '';
    const add = (name: string, json: string) => {
      if (name === 'id') id = `${ID.slice(0, -1)}${json}`;
      else members += `,${JSON.stringify(name)}:${json}`;
    };
    for (const [i, value] of fields.values.entries())
      if (value !== undefined) add(kept.names[i] ?? '', kept.json ? value : JSON.stringify(value));
    for (const [name, json] of fields.others) add(kept.nameOf(name), json);
    return `${result.slice(0, idAt)}${id}${members}${result.slice(at)}\n`;
  }

  #tableRow(result: string, fields: KeptFields | undefined): string {
    const { kept } = this.#options;
    const row = JSON.parse(result) as Row;
    const text = (value: string) => textField(value, this.#table);
    const cell = (value: string | undefined) =>
      value === undefined ? '' : kept?.json ? cellOf(value, text) : text(value);
    const values = kept?.names.map((_, i) => cell(fields?.values[i])) ?? [];
    const [keptId = ''] = this.#keptId === -1 ? [] : values.splice(this.#keptId, 1);
    const id = keptId === '' ? undefined : keptId;
    const others = kept?.others ? otherFields(kept, fields) : '';
    return tableRecord(rowCells(row, { id, values, others }, this.#columns, text), this.#table);
  }
}

const LF = 0x0a;
/** The start of every result. */
const LINE = /^\{"line":(\d+)/;
const ID = ',"id":"';
/** A result whose record has no fields that could be kept. */
const UNREADABLE = /,"error":\{"code":"(?:invalid_record|invalid_encoding|record_too_long)"/;

function* linesOf(bytes: Buffer): Generator<string> {
  let from = 0;
  for (let end = bytes.indexOf(LF); end !== -1; end = bytes.indexOf(LF, from)) {
    yield bytes.toString('utf8', from, end);
    from = end + 1;
  }
}

/** Members without a column, as a JSON object; empty when there are none. */
function otherFields(kept: KeptColumns, fields: KeptFields | undefined): string {
  const members = fields?.others.map(([name, json]) => `${JSON.stringify(kept.nameOf(name))}:${json}`) ?? [];
  return members.length === 0 ? '' : `{${members.join(',')}}`;
}
