/** Reads the finished output of an earlier run, row by row, and writes it anew with other outcomes in some of its rows. */
import { csvFields } from '../../../shared/bulk/csv.ts';
import { cellOf } from '../../../shared/bulk/kept-fields.ts';
import { columnNames, rowCells, type ResultTable } from '../../../shared/bulk/result-table.ts';
import { tableRecord, textField, type TableOptions } from '../../../shared/bulk/table.ts';
import { membersOf } from '../../../shared/bulk/written-members.ts';
import { UsageError } from '../../terminal/exit.ts';
import { openInput } from '../input/input.ts';
import { outcomeStart } from './outcomes.ts';
import { formatOf, type OutputOptions } from './output-options.ts';
import { linesOf, readRow, type OutputRow } from './output-rows.ts';
import { recordsOf } from '../input/selection.ts';

export interface EarlierRow {
  /** Line of the input. */
  line: number;
  id: string | undefined;
  failed: boolean;
  /** The row has more labels than the best one. */
  hasLabels: boolean;
  /** The row with its line ending. */
  bytes: Buffer;
}

/** The rows, which can be read once. */
export interface EarlierRows {
  rows: AsyncGenerator<EarlierRow, void, undefined>;
  table: Table | undefined;
}

interface Table {
  header: Buffer;
  /** Names of the columns before the label. */
  names: readonly string[];
  /** Places of columns. */
  at: { id: number; label: number; error: number };
  columns: ResultTable;
  options: TableOptions;
}

/** @throws UsageError for a file that is no output of this command */
export async function openEarlierOutput(
  name: string,
  output: OutputOptions,
  signal: AbortSignal,
): Promise<EarlierRows> {
  const input = await openInput(name, {});
  const format = formatOf(output);
  if (format === 'ndjson')
    return { rows: jsonRows(recordsOf(input.read(signal), { format }), name), table: undefined };
  const delimiter = format === 'tsv' ? '\t' : ',';
  const records = recordsOf(input.read(signal), { format: 'csv', delimiter, quote: '"' });
  const first = await records.next();
  const header = first.done === true ? Buffer.alloc(0) : Buffer.from(first.value.bytes);
  const table = readHeader(header, { delimiter, raw: output.raw_csv ?? false });
  if (!table) {
    await records.return();
    throw new UsageError(
      `${name} is not a table that amulet backfill has written: its header has other columns`,
    );
  }
  return { rows: tableRows(records, table, name), table };
}

type Records = ReturnType<typeof recordsOf>;

async function* jsonRows(records: Records, name: string): AsyncGenerator<EarlierRow, void, undefined> {
  let number = 0;
  for await (const record of records) {
    number++;
    const bytes = Buffer.from(record.bytes);
    const start = outcomeStart(bytes);
    const [, line, id] =
      /^\{"line":(\d+)(?:,"id":("(?:[^"\\]|\\.)*"|-?\d[^,]*))?/.exec(bytes.toString('utf8', 0, start)) ?? [];
    if (line === undefined) throw otherRow(name, number);
    const value = id === undefined ? undefined : String(JSON.parse(id));
    yield {
      line: Number(line),
      id: value,
      failed: bytes.indexOf(',"error":', start) === start,
      hasLabels: bytes.indexOf(',"labels":[', start) !== -1,
      bytes,
    };
  }
}

async function* tableRows(
  records: Records,
  table: Table,
  name: string,
): AsyncGenerator<EarlierRow, void, undefined> {
  const { at, columns } = table;
  let number = 1;
  for await (const record of records) {
    number++;
    const bytes = Buffer.from(record.bytes);
    const fields = fieldsOf(bytes, table);
    const line = fields?.[0] === '' ? NaN : Number(fields?.[0]);
    if (!fields || !Number.isSafeInteger(line)) throw otherRow(name, number);
    yield {
      line,
      id: fields[at.id] === '' ? undefined : fields[at.id],
      failed: fields[at.error] !== '',
      hasLabels: columns.labels,
      bytes,
    };
  }
}

const otherRow = (name: string, number: number) =>
  new UsageError(`${name} is not an output of amulet backfill: row ${number} has another form`);

/** @returns undefined for a record of another width */
function fieldsOf(
  record: Buffer,
  { options, columns, at }: Pick<Table, 'options' | 'columns' | 'at'>,
): string[] | undefined {
  const fields = csvFields(record.subarray(0, -1), { delimiter: options.delimiter });
  const width = at.label + columnNames(columns).length - 1;
  return 'problem' in fields || fields.length !== width ? undefined : fields;
}

function readHeader(header: Buffer, options: TableOptions): Table | undefined {
  const names = csvFields(header.subarray(0, -1), { delimiter: options.delimiter });
  if ('problem' in names) return undefined;
  const label = names.indexOf('label');
  const own = names.slice(label);
  const scoreLabels = own
    .filter((name) => name.startsWith('score_'))
    .map((name) => name.slice('score_'.length));
  const columns = { ids: false, kept: [], others: false, labels: own.includes('labels'), scoreLabels };
  const expected = columnNames(columns).slice(1);
  if (label === -1 || names[0] !== 'line' || own.join('\n') !== expected.join('\n')) return undefined;
  const at = { id: names.slice(0, label).indexOf('id'), label, error: names.lastIndexOf('error') };
  return { header, names: names.slice(0, label), at, columns, options };
}

/**
 * The earlier output with the outcomes of some rows replaced.
 * @param outcomes JSON Lines of these rows, in order
 */
export async function* merged(
  { rows, table }: EarlierRows,
  outcomes: AsyncIterable<Buffer>,
  { name, withKept }: { name: string; withKept: boolean },
): AsyncGenerator<Uint8Array, void, undefined> {
  const next = newRows(outcomes, withKept);
  let fresh = await next.next();
  let pieces: Uint8Array[] = table ? [table.header] : [];
  let bytes = 0;
  for await (const row of rows) {
    let written = row.bytes;
    if (fresh.done !== true && fresh.value.result.line === row.line) {
      written = table ? replacedRecord(row, fresh.value, table) : replacedLine(row, fresh.value);
      fresh = await next.next();
    }
    pieces.push(written);
    bytes += written.length;
    if (bytes < PIECE_BYTES) continue;
    yield Buffer.concat(pieces);
    pieces = [];
    bytes = 0;
  }
  if (fresh.done !== true)
    throw new UsageError(`${name} has changed since the run began: its rows are fewer`);
  yield Buffer.concat(pieces);
}

const PIECE_BYTES = 256 * 1024;

interface NewRow extends OutputRow {
  bytes: Buffer;
}

async function* newRows(
  outcomes: AsyncIterable<Buffer>,
  withKept: boolean,
): AsyncGenerator<NewRow, void, undefined> {
  for await (const piece of outcomes)
    for (const bytes of linesOf(piece)) yield { ...readRow(bytes, withKept), bytes };
}

/** The fields of the input are those that the row had before, or all that are kept if it could not be read then. */
function replacedLine({ bytes: old }: EarlierRow, { bytes: fresh, kept = NO_FIELDS }: NewRow): Buffer {
  const earlier = fieldNames(old);
  const members = [...kept].filter(
    ([name]) => name === 'id' || earlier.length === 0 || earlier.includes(name),
  );
  if (members.length === 0) return Buffer.concat([fresh, LF]);
  const [line = ''] = /^\{"line":\d+/.exec(fresh.toString('latin1', 0, 40)) ?? [];
  const fields = members.map(([name, json]) => `,${JSON.stringify(name)}:${json}`).join('');
  return Buffer.concat([Buffer.from(line + fields), fresh.subarray(outcomeStart(fresh)), LF]);
}

const LF = Buffer.from('\n');
const NO_FIELDS = new Map<string, string>();

/** Names of the fields of the input in a row of JSON. */
export function fieldNames(row: Buffer): string[] {
  const names = membersOf(`${row.toString('utf8', 0, outcomeStart(row))}}`).keys();
  return [...names].filter((name) => name !== 'line' && name !== 'id');
}

function replacedRecord({ bytes: old }: EarlierRow, { result, kept }: NewRow, table: Table): Buffer {
  const { options, columns, at, names } = table;
  const text = (value: string) => textField(value, options);
  const [, ...outcome] = rowCells(result, { id: undefined, values: [], others: '' }, columns, text);
  const earlier = fieldsOf(old, table) ?? [];
  const own = names.map((name, i) => {
    if (i === at.id) return result.id === undefined ? (earlier[i] ?? '') : text(result.id);
    const json = i === 0 ? undefined : kept?.get(nameInRows(name, columns));
    return json === undefined ? (earlier[i] ?? '') : cellOf(json, text);
  });
  return Buffer.from(tableRecord([...own, ...outcome], options));
}

/** The name of a column beside columns of scores, as it is in the rows of the results. */
export const nameInRows = (name: string, { scoreLabels }: ResultTable): string =>
  scoreLabels.length > 0 && /^(?:input_)+score_/.test(name) ? name.slice('input_'.length) : name;
