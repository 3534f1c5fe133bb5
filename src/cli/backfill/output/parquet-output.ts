/** Writes results as Parquet, a row group at a time. */
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { cellOf } from '../../../shared/bulk/kept-fields.ts';
import { KIND, linesOf, otherFields, readRow, type OutputColumns, type OutputRow } from './output-rows.ts';

/** Bounds of a row group, which is in memory as a whole: rows, and bytes of them as JSON. */
const GROUP_ROWS = 20_000;
const GROUP_BYTES = 4 * 1024 * 1024;

type SchemaElement = ConstructorParameters<typeof ParquetWriter>[0]['schema'][number];

interface Column {
  /** The column and, for nested values, what is in it. */
  schema: SchemaElement[];
  valueOf: (row: OutputRow) => unknown;
}

export async function* parquetBytes(
  rows: AsyncIterable<Buffer>,
  columns: OutputColumns,
  withKept: boolean,
): AsyncGenerator<Uint8Array> {
  const fields = fieldsOf(columns);
  const bytes = new ByteWriter();
  const writer = new ParquetWriter({
    writer: bytes,
    schema: [{ name: 'schema', num_children: fields.length }, ...fields.flatMap(({ schema }) => schema)],
    // They would be wrong for strings beyond U+FFFF, which JavaScript orders in another way.
    statistics: false,
    createdBy: 'amulet',
  });
  const take = (): Uint8Array => {
    const taken = bytes.getBytes().slice();
    bytes.index = 0;
    return taken;
  };
  let group = fields.map((): unknown[] => []);
  let groupRows = 0;
  let groupBytes = 0;
  const writeGroup = (): void => {
    const columnData = fields.map(({ schema: [element] }, i) => ({
      name: element?.name ?? '',
      data: group[i] ?? [],
    }));
    void writer.write({ columnData, rowGroupSize: groupRows });
    group = fields.map(() => []);
    groupRows = 0;
    groupBytes = 0;
  };
  for await (const piece of rows) {
    for (const line of linesOf(piece)) {
      const row = readRow(line, withKept);
      for (const [i, { valueOf }] of fields.entries()) group[i]?.push(valueOf(row));
      groupRows++;
      groupBytes += line.length;
      if (groupRows < GROUP_ROWS && groupBytes < GROUP_BYTES) continue;
      writeGroup();
      yield take();
    }
  }
  if (groupRows > 0) writeGroup();
  void writer.finish();
  yield take();
}

function fieldsOf(columns: OutputColumns): Column[] {
  const { ids, names, kept, others, labels, scoreLabels } = columns;
  const labelled =
    <T>(read: (result: Labelled) => T) =>
    (row: OutputRow) =>
      'error' in row.result ? undefined : read(row.result);
  return [
    {
      schema: [{ name: 'line', type: 'INT64', repetition_type: 'REQUIRED' }],
      valueOf: ({ result }) => BigInt(result.line),
    },
    ...(ids ? [idField(columns)] : []),
    ...names.map((name, i) => keptField(kept[i] ?? name, name, columns)),
    ...(others ? [stringField('other_fields', ({ kept }) => kept && otherFields(kept, names))] : []),
    stringField(
      'label',
      labelled(({ label }) => label),
    ),
    plainField(
      'score',
      'DOUBLE',
      labelled(({ score }) => score),
    ),
    ...(labels ? [labelsField(labelled(({ labels }) => labels))] : []),
    ...scoreLabels.map((wanted) =>
      plainField(
        `score_${wanted}`,
        'DOUBLE',
        labelled((result) => (result.labels ?? [result]).find(({ label }) => label === wanted)?.score),
      ),
    ),
    plainField(
      'truncated',
      'BOOLEAN',
      labelled(({ truncated }) => truncated),
    ),
    plainField(
      'unknown',
      'DOUBLE',
      labelled(({ unknown }) => unknown),
    ),
    stringField('error', ({ result }) => ('error' in result ? result.error.code : undefined)),
    stringField('error_message', ({ result }) => ('error' in result ? result.error.message : undefined)),
  ];
}

type Labelled = Exclude<OutputRow['result'], { error: unknown }>;

function plainField(
  name: string,
  type: NonNullable<SchemaElement['type']>,
  valueOf: Column['valueOf'],
): Column {
  return { schema: [{ name, type, repetition_type: 'OPTIONAL' }], valueOf };
}

function stringField(name: string, valueOf: Column['valueOf']): Column {
  return { schema: [{ ...STRING, name, repetition_type: 'OPTIONAL' }], valueOf };
}

const STRING = { type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } } as const;

/** A list of records with label and score. */
function labelsField(valueOf: Column['valueOf']): Column {
  const schema: SchemaElement[] = [
    {
      name: 'labels',
      repetition_type: 'OPTIONAL',
      converted_type: 'LIST',
      logical_type: { type: 'LIST' },
      num_children: 1,
    },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', repetition_type: 'REQUIRED', num_children: 2 },
    { ...STRING, name: 'label', repetition_type: 'REQUIRED' },
    { name: 'score', type: 'DOUBLE', repetition_type: 'REQUIRED' },
  ];
  return { schema, valueOf };
}

function idField(columns: OutputColumns): Column {
  const kept = keptField('id', 'id', columns);
  return { ...kept, valueOf: (row) => (row.kept?.has('id') ? kept.valueOf(row) : row.result.id) };
}

/** @param key name in the rows */
function keptField(name: string, key: string, { kinds, codecs }: OutputColumns): Column {
  const codec = codecs.get(key);
  const { type, read } = codec
    ? { type: undefined, read: codec.fromJson }
    : typeOf(kinds.get(key) ?? KIND.string);
  const valueOf = ({ kept }: OutputRow) => {
    const json = kept?.get(key);
    return json === undefined || json === 'null' ? undefined : read(json);
  };
  if (codec)
    return { schema: [{ ...codec.written, name, repetition_type: 'OPTIONAL' } as SchemaElement], valueOf };
  return type === undefined || type === 'STRING'
    ? stringField(name, valueOf)
    : plainField(name, type, valueOf);
}

type Read = (json: string) => unknown;

function typeOf(kinds: number): { type: 'STRING' | NonNullable<SchemaElement['type']>; read: Read } {
  const only = (...allowed: number[]) => (kinds & ~allowed.reduce((bits, bit) => bits | bit)) === 0;
  if (kinds !== 0) {
    if (only(KIND.boolean)) return { type: 'BOOLEAN', read: (json) => json === 'true' };
    if (only(KIND.integer, KIND.largeInteger)) return { type: 'INT64', read: BigInt };
    // A double has no room for larger integers.
    if (only(KIND.integer, KIND.number)) return { type: 'DOUBLE', read: Number };
  }
  // Values of several types, lists and objects: as in a CSV.
  return { type: 'STRING', read: (json) => cellOf(json, (text) => text) };
}
