/** What is read from ONNX files, and from what is none. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeModel, type Graph, type Operator } from '../../bench/onnx-writer.ts';
import { embeddingRows, lastOperator, NotOnnx, readOnnxGraph } from '../../src/shared/onnx/graph.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-onnx-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const read = (bytes: Uint8Array) => {
  const file = path.join(folder, 'model.onnx');
  writeFileSync(file, bytes);
  return readOnnxGraph(file);
};

function graph(operators: Operator[], weights: Graph['weights'] = new Map()): Graph {
  return {
    name: 'g',
    operators,
    weights,
    inputs: [{ name: 'input_ids', type: 'int64', dims: ['rows', 'tokens'] }],
    outputs: [{ name: 'out', type: 'float', dims: ['rows', 2] }],
    operatorSets: { '': 17 },
  };
}
const table = (rows: number): [string, NonNullable<ReturnType<Graph['weights']['get']>>] => [
  'table',
  { type: 'float', dims: [rows, 2], data: new Float32Array(rows * 2) },
];

// Protobuf by hand, for what the writer cannot make.
const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
const field = (number: number, content: number | string | number[]): number[] => {
  if (typeof content === 'number') return [...varint(number << 3), ...varint(content)];
  const bytes = typeof content === 'string' ? [...Buffer.from(content)] : content;
  return [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes];
};
const external = (location: string): number[] => [
  ...field(1, 4),
  ...field(13, [...field(1, 'offset'), ...field(2, '0')]),
  ...field(13, [...field(1, 'location'), ...field(2, location)]),
  ...field(14, 1),
];
const model = (graphFields: number[], rest: number[] = []) =>
  Buffer.from([...field(7, graphFields), ...rest]);

test('operators, weights with their shapes, and outputs', () => {
  const made = read(
    encodeModel(
      graph(
        [
          { op: 'Gather', inputs: ['table', 'input_ids'], outputs: ['rows'] },
          { op: 'DynamicQuantizeLinear', inputs: ['rows'], outputs: ['q', 's', 'z'] },
          { op: 'Softmax', inputs: ['s'], outputs: ['out'] },
        ],
        new Map([table(40_000)]),
      ),
    ),
  );
  expect(made.outputs).toEqual(['out']);
  expect([...made.operators]).toEqual(['Gather', 'DynamicQuantizeLinear', 'Softmax']);
  expect(made.weights.get('table')).toEqual([40_000, 2]);
  expect(made.nodes[1]).toEqual({ op: 'DynamicQuantizeLinear', inputs: ['rows'], outputs: ['q', 's', 'z'] });
  expect(made.externalData).toEqual([]);
  expect(embeddingRows(made, 'input_ids')).toBe(40_000);
  expect(lastOperator(made, 'out')).toBe('Softmax');
});

test('finds the last operator before those that only move values; undefined for an output without a producer', () => {
  const made = read(
    encodeModel(
      graph([
        { op: 'Sigmoid', inputs: ['x'], outputs: ['a'] },
        { op: 'Cast', inputs: ['a'], outputs: ['b'] },
        { op: 'Squeeze', inputs: ['b'], outputs: ['c'] },
        { op: 'Identity', inputs: ['c'], outputs: ['out'] },
      ]),
    ),
  );
  expect(lastOperator(made, 'out')).toBe('Sigmoid');
  expect(lastOperator(made, 'x')).toBeUndefined();
  // A graph that goes in circles is no graph, and still comes to an end.
  const circle = read(encodeModel(graph([{ op: 'Identity', inputs: ['out'], outputs: ['out'] }])));
  expect(lastOperator(circle, 'out')).toBe('Identity');
});

test.each([
  ['Cast', 'Gather', ['table', 'ids']],
  ['Identity', 'EmbedLayerNormalization', ['ids', '', 'table']],
])('the table of the embeddings behind a %s, in a %s', (converter, lookup, inputs) => {
  const made = read(
    encodeModel(
      graph(
        [
          { op: converter, inputs: ['input_ids'], outputs: ['ids'] },
          { op: 'Gather', inputs: ['other', 'places'], outputs: ['y'] },
          { op: lookup, inputs, outputs: ['out'] },
        ],
        new Map([table(7), ['other', table(3)[1]]]),
      ),
    ),
  );
  expect(embeddingRows(made, 'input_ids')).toBe(7);
});

describe('weights outside the file', () => {
  const node = (attribute: number[]) => field(1, [...field(4, 'Op'), ...field(5, attribute)]);
  const sub = field(5, external('sub.bin'));
  test.each<[string, Buffer, string[]]>([
    [
      'of the graph',
      model([...field(5, external('a.bin')), ...field(5, external('dir/b.bin'))]),
      ['a.bin', 'dir/b.bin'],
    ],
    [
      'twice the same file',
      model([...field(5, external('a.bin')), ...field(5, external('a.bin'))]),
      ['a.bin'],
    ],
    ['of a constant', model(node(field(5, external('c.bin')))), ['c.bin']],
    ['of a list of tensors', model(node(field(10, external('t.bin')))), ['t.bin']],
    ['of a subgraph', model(node(field(6, sub))), ['sub.bin']],
    ['of a list of subgraphs, in a subgraph', model(node(field(6, node(field(11, sub))))), ['sub.bin']],
    [
      'of a sparse tensor',
      model(field(15, [...field(1, external('v.bin')), ...field(2, external('i.bin'))])),
      ['v.bin', 'i.bin'],
    ],
    [
      'of a function',
      model([], field(25, field(7, [...field(4, 'Op'), ...field(5, field(5, external('f.bin')))]))),
      ['f.bin'],
    ],
    ['without a location', model(field(5, [...field(14, 1)])), ['']],
    ['that are inside after all', model(field(5, [...external('no.bin').slice(0, -1), 0])), []],
  ])('%s', (_, bytes, files) => {
    expect(read(bytes).externalData).toEqual(files);
  });
});

test('dims that are packed, and large varints, are read', () => {
  const made = read(model(field(5, [...field(1, [...varint(3), ...varint(300)]), ...field(8, 'w')])));
  expect(made.weights.get('w')).toEqual([3, 300]);
});

test('skips a weight larger than the window, and reads on after it', () => {
  const weights = new Map([table(500_000), ['z', { ...table(1)[1], dims: [1, 2] }]]);
  const made = read(encodeModel(graph([{ op: 'Add', inputs: ['table', 'z'], outputs: ['out'] }], weights)));
  expect([...made.weights.keys()]).toEqual(['table', 'z']);
});

describe('a file that is not ONNX is refused in bounded time', () => {
  const whole = encodeModel(
    graph([{ op: 'Add', inputs: ['a', 'b'], outputs: ['out'] }], new Map([table(3)])),
  );
  const deep = (depth: number): number[] =>
    depth === 0 ? [] : field(1, field(5, field(6, deep(depth - 1))));
  test.each<[string, Uint8Array]>([
    ['nothing', Buffer.alloc(0)],
    ['a text', Buffer.from('not really a graph')],
    ['zeros', Buffer.alloc(100)],
    ['ones', Buffer.alloc(100, 255)],
    ['a Git LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n')],
    ['a graph in graphs in graphs', model(deep(100))],
    ['a name of a megabyte', model(field(1, field(4, 'x'.repeat(1 << 20))))],
  ])('%s', (_, bytes) => expect(() => read(bytes)).toThrow(NotOnnx));

  test('a file cut off anywhere is an error or the graph up to there, never another error', () => {
    for (let end = 0; end < whole.length; end++) {
      try {
        read(whole.subarray(0, end));
      } catch (error) {
        expect(error).toBeInstanceOf(NotOnnx);
      }
    }
  });
});
