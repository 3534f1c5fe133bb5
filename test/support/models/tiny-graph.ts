/** Tiny classifiers as ONNX files, each with one trait of models in the wild, beside the tokenizer of a case. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { encodeModel, type Graph, type Operator, type Port, type Weight } from '../../../bench/onnx-writer.ts';

/** A folder without an ONNX file's traits of its own: 32 words, two labels. */
const BASE = 'test/fixtures/cases/model-no-tokcfg';

export const WORDS = 32;

export interface TinyGraph {
  /** Behind `pooled` [rows, 2]; the last must make `logits`, or `outputs`. */
  operators?: Operator[] | undefined;
  /** How `embedded` [rows, tokens, 2] becomes `pooled`. */
  pooling?: 'masked' | 'unmasked' | 'last';
  inputs?: Port[];
  outputs?: Port[];
  weights?: [string, Weight][];
  /** Rows of the embeddings. */
  words?: number;
  /** Adds position embeddings of that number, looked up by position_ids or by the running sum of the mask from `first` on. */
  positions?: { rows: number; by: 'position_ids' | 'mask'; first?: number };
}

const port = (name: string, dims: Port['dims'] = ['rows', 'tokens']): Port => ({ name, type: 'int64', dims });
export const logits = (dims: Port['dims'] = ['rows', 2], type: Port['type'] = 'float'): Port => ({
  name: 'logits',
  type,
  dims,
});
export const inputs = (dims: Port['dims'], names = ['input_ids', 'attention_mask']): Port[] =>
  names.map((name) => port(name, dims));

const int = (value: bigint, dims: number[] = [1]): Weight => ({
  type: 'int64',
  dims,
  data: BigInt64Array.of(value),
});
const floats = (dims: number[], at: (i: number) => number): Weight => ({
  type: 'float',
  dims,
  data: Float32Array.from({ length: dims.reduce((product, dim) => product * dim, 1) }, (_, i) => at(i)),
});

const MASKED: Operator[] = [
  { op: 'Cast', inputs: ['attention_mask'], outputs: ['mask'], attributes: { to: { int: 1 } } },
  { op: 'Unsqueeze', inputs: ['mask', 'two'], outputs: ['mask3'] },
  { op: 'Mul', inputs: ['embedded', 'mask3'], outputs: ['kept'] },
  { op: 'ReduceSum', inputs: ['kept', 'one'], outputs: ['sum'], attributes: { keepdims: { int: 0 } } },
  { op: 'ReduceSum', inputs: ['mask3', 'one'], outputs: ['count'], attributes: { keepdims: { int: 0 } } },
  { op: 'Div', inputs: ['sum', 'count'], outputs: ['pooled'] },
];
const UNMASKED: Operator[] = [
  { op: 'ReduceSum', inputs: ['embedded', 'one'], outputs: ['pooled'], attributes: { keepdims: { int: 0 } } },
];
/** The last place of the row, whatever is there. */
const LAST: Operator[] = [
  { op: 'Gather', inputs: ['embedded', 'last'], outputs: ['pooled'], attributes: { axis: { int: 1 } } },
];

/** The bytes of a graph. */
export function tinyGraph(options: TinyGraph = {}): Buffer {
  const { pooling = 'masked', words = WORDS, positions } = options;
  const operators: Operator[] = [{ op: 'Gather', inputs: ['words', 'input_ids'], outputs: ['looked'] }];
  if (positions) {
    if (positions.by === 'mask') {
      operators.push(
        { op: 'CumSum', inputs: ['attention_mask', 'axis'], outputs: ['counted'] },
        { op: 'Add', inputs: ['counted', 'before'], outputs: ['places'] },
      );
    }
    const places = positions.by === 'mask' ? 'places' : 'position_ids';
    operators.push(
      { op: 'Gather', inputs: ['positions', places], outputs: ['placed'] },
      { op: 'Add', inputs: ['looked', 'placed'], outputs: ['embedded'] },
    );
  } else operators.push({ op: 'Identity', inputs: ['looked'], outputs: ['embedded'] });
  operators.push(...{ masked: MASKED, unmasked: UNMASKED, last: LAST }[pooling]);
  operators.push(...(options.operators ?? [{ op: 'Identity', inputs: ['pooled'], outputs: ['logits'] }]));
  const graph: Graph = {
    name: 'tiny',
    operators,
    weights: new Map([
      ['words', floats([words, 2], (i) => 3 * Math.sin(i * 7.3))],
      ['one', int(1n)],
      ['two', int(2n)],
      ['axis', int(1n, [])],
      ['last', int(-1n, [])],
      ...(positions
        ? ([
            ['positions', floats([positions.rows, 2], (i) => Math.cos(i * 3.1))],
            ['before', int(BigInt((positions.first ?? 0) - 1))],
          ] as [string, Weight][])
        : []),
      ...(options.weights ?? []),
    ]),
    inputs: options.inputs ?? inputs(['rows', 'tokens']),
    outputs: options.outputs ?? [logits()],
    operatorSets: { '': 13 },
  };
  return encodeModel(graph);
}

/** Makes a model folder. @param config is added to config.json */
export function tinyModel(folder: string, graph: Buffer, config: object = {}): string {
  rmSync(folder, { recursive: true, force: true });
  cpSync(BASE, folder, { recursive: true });
  mkdirSync(path.join(folder, 'onnx'), { recursive: true });
  writeFileSync(path.join(folder, 'onnx/model.onnx'), graph);
  const before = JSON.parse(readFileSync(path.join(folder, 'config.json'), 'utf8')) as object;
  writeFileSync(path.join(folder, 'config.json'), JSON.stringify({ ...before, ...config }));
  return folder;
}
