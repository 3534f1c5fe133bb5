/** Finds the columns of a batch's input that a request for results asks for, before the response begins. */
import { inputOf } from '../../shared/bulk/csv.ts';
import {
  csvKept,
  distinct,
  fieldNamer,
  jsonFields,
  lineKept,
  type KeptReader,
} from '../../shared/bulk/kept-fields.ts';
import { listed } from '../../shared/contract/text.ts';
import { slicesOf } from '../../shared/runtime/in-slices.ts';
import type { PlacedPart } from '../../shared/store/batches/layout.ts';
import type { InputRecords } from './input-records.ts';
import { refusedKeep, type FormLimits, type ResultForm } from './result-form.ts';

export interface KeptColumns {
  /** Names in the output, in their order there. */
  names: readonly string[];
  /** Whether the values are JSON as written; otherwise they are text. */
  json: boolean;
  /** Whether further members of a record are kept, which the columns do not have. */
  others: boolean;
  /** Name of a member in the output. */
  nameOf: (name: string) => string;
  readerFor: (chunk: number) => KeptReader;
}

/** Chunks in which a field of NDJSON is searched. */
const MAX_SEARCHED = 16;

/**
 * @throws AppError `invalid_request` when the input has no such column, or too many; DamagedInput, BlobError
 */
export async function keptColumns(
  input: InputRecords,
  { keep = [], format, scoreColumns }: ResultForm,
  limits: FormLimits,
): Promise<KeptColumns> {
  const { spec } = input;
  const nameOf = fieldNamer({ id: spec.id_field ?? 'id', scores: scoreColumns });
  if (spec.format === 'csv') return csvColumns(input, keep, nameOf, limits);
  if (spec.format === 'lines') {
    const unknown = keep === 'all' ? undefined : keep.find((name) => name !== spec.text_field);
    if (unknown !== undefined) throw noColumn(unknown, [spec.text_field]);
    return {
      names: [nameOf(spec.text_field)],
      json: false,
      others: false,
      nameOf,
      readerFor: () => lineKept,
    };
  }
  const all = keep === 'all';
  // A table needs its columns before its rows; JSON objects have their own.
  const columns = all ? (format === 'ndjson' ? [] : await firstFields(input, limits)) : keep;
  if (!all) await requireFields(input, columns);
  const reader = jsonFields(columns, all);
  return { names: columns.map(nameOf), json: true, others: all, nameOf, readerFor: () => reader };
}

async function csvColumns(
  input: InputRecords,
  keep: Exclude<ResultForm['keep'], undefined>,
  nameOf: (name: string) => string,
  limits: FormLimits,
): Promise<KeptColumns> {
  /** By part; parts with the same header share one list. */
  const lists = new Map<PlacedPart, readonly Column[]>();
  const byHeader = new Map<unknown, readonly Column[]>();
  /** Columns of all parts, by name. */
  const known = new Map<string, Column[]>();
  for (const part of input.manifest.parts) {
    const header = part.header?.digest ?? part.columns;
    const list = byHeader.get(header) ?? columnList(await columnNames(input, part));
    lists.set(part, list);
    if (byHeader.has(header)) continue;
    byHeader.set(header, list);
    for (const column of list) addColumn(known, column);
  }
  const columns = keep === 'all' ? [...known.values()].flat() : keep.map((name) => find(name, known));
  if (columns.length > limits.columns) {
    throw refusedKeep(
      `would keep ${columns.length} columns; at most ${limits.columns} are allowed (MAX_CSV_COLUMNS)`,
    );
  }
  const readers = new Map<readonly Column[], KeptReader>();
  const readerFor = (chunk: number): KeptReader => {
    const part = input.manifest.partOf(chunk);
    const list = lists.get(part) ?? [];
    let reader = readers.get(list);
    if (!reader) {
      const places = new Map(list.map((column, i) => [keyOf(column), i]));
      const positions = columns.map((column) => places.get(keyOf(column)) ?? -1);
      reader = csvKept(positions, list.length, inputOf(input.spec, part));
      readers.set(list, reader);
    }
    return reader;
  };
  const names = distinct(columns.map(({ name }) => nameOf(name)));
  return { names, json: false, others: false, nameOf, readerFor };
}

/** A column of a CSV; `nth` tells columns with the same name apart. */
interface Column {
  name: string;
  nth: number;
}

const keyOf = ({ name, nth }: Column): string => `${nth} ${name}`;

function columnList(names: readonly string[]): Column[] {
  const seen = new Map<string, number>();
  return names.map((name) => {
    const nth = (seen.get(name) ?? 0) + 1;
    seen.set(name, nth);
    return { name, nth };
  });
}

async function columnNames(input: InputRecords, part: PlacedPart): Promise<readonly string[]> {
  const names = await input.columnsOf(part);
  if (names !== undefined) return names;
  throw refusedKeep(
    'needs the names of the columns, which an earlier version did not store: submit the input again',
  );
}

/** Adds a column unless an earlier part has it. */
function addColumn(known: Map<string, Column[]>, column: Column): void {
  const same = known.get(column.name) ?? [];
  if (same.length < column.nth) known.set(column.name, [...same, column]);
}

function find(name: string, known: ReadonlyMap<string, readonly Column[]>): Column {
  const [column, second] = known.get(name) ?? [];
  if (second)
    throw refusedKeep(`names "${name}", which is more than once in the header: keep all columns (*)`);
  if (!column) throw noColumn(name, [...known.keys()]);
  return column;
}

/** The fields of the first chunk, in the order in which they occur. */
async function firstFields(input: InputRecords, limits: FormLimits): Promise<string[]> {
  const names = new Set<string>();
  for (const name of await fieldsIn(input, 0)) if (names.size < limits.columns) names.add(name);
  return [...names];
}

/** @throws AppError `invalid_request` when none of the first records has one of these fields */
async function requireFields(input: InputRecords, wanted: readonly string[]): Promise<void> {
  const missing = new Set(wanted);
  const known = new Set<string>();
  const chunks = input.manifest.parts.reduce((sum, part) => sum + part.chunks, 0);
  for (let chunk = 0; chunk < Math.min(chunks, MAX_SEARCHED); chunk++) {
    for (const name of await fieldsIn(input, chunk)) {
      missing.delete(name);
      if (known.size < MAX_KNOWN) known.add(name);
    }
    if (missing.size === 0) return;
  }
  const [name = ''] = missing;
  throw noColumn(name, [...known], chunks > MAX_SEARCHED);
}

/** Field names that are remembered for a message. */
const MAX_KNOWN = 1000;

async function fieldsIn(input: InputRecords, chunk: number): Promise<Set<string>> {
  const read = jsonFields([], true);
  const names = new Set<string>();
  for await (const records of slicesOf(await input.ofChunk(chunk))) {
    for (const record of records) for (const [name] of read(record)?.others ?? []) names.add(name);
  }
  return names;
}

function noColumn(name: string, known: readonly string[], more = false) {
  const where = more ? `the first ${MAX_SEARCHED} chunks of the input have` : 'the input has';
  return refusedKeep(
    `names "${name}", but ${where} only: ${listed(known)}${more ? ' (* keeps all fields)' : ''}`,
  );
}
