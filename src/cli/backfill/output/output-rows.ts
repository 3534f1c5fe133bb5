/** Rows of the results as the finished output needs them: apart from the fields of the input that stand in them, with the columns of a table. */
import { csvFields } from '../../../shared/bulk/csv.ts';
import { distinct, fieldNamer } from '../../../shared/bulk/kept-fields.ts';
import type { ResultTable } from '../../../shared/bulk/result-table.ts';
import { membersOf } from '../../../shared/bulk/written-members.ts';
import type { RowResult } from '../../../shared/contract/results.ts';
import type { BatchOptions } from '../../../client/batches.ts';
import type { SchemaElement } from 'hyparquet';
import { outcomeStart } from './outcomes.ts';
import { formatOf, type OutputOptions } from './output-options.ts';
import { codecOf, type Codec } from '../input/parquet-values.ts';
import type { BackfillState } from '../state.ts';

export interface OutputRow {
  result: { line: number } & RowResult;
  /** Fields of the input by their name in the row, as JSON; `id` may be among them. Undefined when none are kept. */
  kept: Map<string, string> | undefined;
}

/** What the values of a column are, as JSON: a set of bits. */
export const KIND = { boolean: 1, integer: 2, largeInteger: 4, number: 8, string: 16, other: 32 } as const;

export interface OutputColumns extends ResultTable {
  /** Names of the columns of the input in the rows, in the order of `kept`. */
  names: readonly string[];
  /** Kinds of the values of columns of the input, by name in the rows; empty unless they were asked for. */
  kinds: ReadonlyMap<string, number>;
  /** Codecs of columns of a Parquet input, likewise. */
  codecs: ReadonlyMap<string, Codec>;
}

/** Columns of a table; further fields of JSON objects share one. */
const MAX_COLUMNS = 5000;
const LF = 0x0a;

/** @param withKept the row holds fields of the input */
export function readRow(row: Buffer, withKept: boolean): OutputRow {
  if (!withKept) return { result: JSON.parse(row.toString()) as OutputRow['result'], kept: undefined };
  const start = outcomeStart(row);
  const kept = membersOf(`${row.toString('utf8', 0, start)}}`);
  const line = Number(kept.get('line'));
  kept.delete('line');
  return { result: { line, ...(JSON.parse(`{${row.toString('utf8', start + 1)}`) as RowResult) }, kept };
}

/** The lines of a piece, without their line endings. */
export function* linesOf(piece: Buffer): Generator<Buffer, void, undefined> {
  let from = 0;
  for (let end = piece.indexOf(LF); end !== -1; end = piece.indexOf(LF, from)) {
    yield piece.subarray(from, end);
    from = end + 1;
  }
}

/** Fields without a column, as a JSON object; undefined when there are none. */
export function otherFields(kept: ReadonlyMap<string, string>, names: readonly string[]): string | undefined {
  const columns = new Set([...names, 'id']);
  const members = [...kept]
    .filter(([name]) => !columns.has(name))
    .map(([name, json]) => `${JSON.stringify(name)}:${json}`);
  return members.length === 0 ? undefined : `{${members.join(',')}}`;
}

/** What is known of the input of a run. */
export type RowsOrigin = Pick<BackfillState, 'options' | 'types'>;

/** Finds the columns of a table, in a pass over the rows where only these tell. */
export async function findColumns(
  rows: () => AsyncIterable<Buffer>,
  output: OutputOptions,
  { options: batch, types }: RowsOrigin,
): Promise<OutputColumns> {
  const { keep, score_columns: scoreColumns = false } = output;
  const known = keep === undefined ? [] : knownColumns(keep, batch, types);
  const wantsKinds =
    keep !== undefined && formatOf(output) === 'parquet' && batch.format === 'ndjson' && !types;
  const names = new Set(known);
  const kinds = new Map<string, number>();
  let others = false;
  let scoreLabels: string[] | undefined;
  if (scoreColumns || wantsKinds || !known) {
    for await (const piece of rows()) {
      for (const line of linesOf(piece)) {
        const { result, kept = [] } = readRow(line, keep !== undefined);
        if (scoreColumns && !scoreLabels && 'label' in result)
          scoreLabels = (result.labels ?? [result]).map(({ label }) => label).toSorted();
        for (const [name, json] of kept) {
          if (wantsKinds) kinds.set(name, (kinds.get(name) ?? 0) | kindOf(json));
          if (known || names.has(name)) continue;
          if (names.size < MAX_COLUMNS) names.add(name);
          else others = true;
        }
      }
      if (scoreLabels && known && !wantsKinds) break;
    }
  }
  const keepsId = names.delete('id');
  const shown = [...names];
  return {
    ids: keepsId || hasIds(batch),
    names: shown,
    kept: scoreColumns ? distinct(shown.map(besideScores)) : shown,
    others,
    labels: batch.top_k !== undefined && batch.top_k !== '1' && !scoreColumns,
    scoreLabels: scoreLabels ?? [],
    kinds,
    codecs: codecsOf(types, batch),
  };
}

function codecsOf(types: RowsOrigin['types'] = {}, batch: BatchOptions): Map<string, Codec> {
  const nameOf = namesIn(batch);
  return new Map(
    Object.entries(types).flatMap(([name, type]) => {
      const codec = codecOf({ ...type, name } as SchemaElement);
      return codec ? [[nameOf(name), codec] as const] : [];
    }),
  );
}

/** The name of a field of the input in the rows. */
const namesIn = (batch: BatchOptions) => fieldNamer({ id: batch.id_field ?? 'id', scores: false });

/** Names of the kept columns in the rows; undefined when only the rows tell. */
function knownColumns(
  keep: 'all' | readonly string[],
  batch: BatchOptions,
  types: RowsOrigin['types'],
): string[] | undefined {
  const nameOf = namesIn(batch);
  if (keep !== 'all') return keep.map(nameOf);
  if (types) return Object.keys(types).map(nameOf);
  if (batch.format === 'lines') return [nameOf(batch.text_field ?? 'text')];
  const header = headerOf(batch);
  return header && distinct(header.map(nameOf));
}

/** The column names of a CSV. */
export function headerOf({ format, columns, delimiter, quote }: BatchOptions): string[] | undefined {
  if (format !== 'csv' || columns === undefined) return undefined;
  const fields = csvFields(Buffer.from(columns), {
    delimiter: delimiter === 'tab' ? '\t' : delimiter,
    quote,
  });
  return 'problem' in fields ? undefined : fields;
}

function hasIds(batch: BatchOptions): boolean {
  if (batch.format === 'lines') return false;
  return (
    batch.id_field !== undefined || batch.format === 'ndjson' || (headerOf(batch)?.includes('id') ?? false)
  );
}

/** Names a column of the input so that none is called like that of a score. */
const besideScores = (name: string): string => (/^(?:input_)*score_/.test(name) ? `input_${name}` : name);

function kindOf(json: string): number {
  switch (json[0]) {
    case '"':
      return KIND.string;
    case 't':
    case 'f':
      return KIND.boolean;
    case 'n':
      return 0;
    case '{':
    case '[':
      return KIND.other;
    default:
      if (!/^-?\d+$/.test(json)) return KIND.number;
      return Number.isSafeInteger(Number(json)) ? KIND.integer : largeKind(json);
  }
}

function largeKind(json: string): number {
  return json.length <= 20 && BigInt.asIntN(64, BigInt(json)) === BigInt(json)
    ? KIND.largeInteger
    : KIND.other;
}
