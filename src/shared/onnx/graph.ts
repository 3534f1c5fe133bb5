/**
 * Reads the graph of an ONNX file without loading it: external weight files, operators, nodes, and shapes. Weights are skipped, not
 * read, so the cost does not depend on the size of the file.
 *
 * A protobuf message is a sequence of fields: a varint `number << 3 | kind`, then a varint (kind 0), 8 bytes (1), a length and
 * bytes (2), or 4 bytes (5). Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export interface OnnxNode {
  op: string;
  inputs: string[];
  outputs: string[];
}

export interface OnnxGraph {
  /** Locations of external weights as in the graph, each once; including those of subgraphs and functions. */
  externalData: string[];
  /** Operator types, including those of subgraphs and functions. */
  operators: ReadonlySet<string>;
  /** Nodes of the main graph, in its order. */
  nodes: OnnxNode[];
  /** Shapes of the weights of the main graph by name. */
  weights: ReadonlyMap<string, number[]>;
  /** Names of the outputs of the main graph. */
  outputs: string[];
}

/** The file is not ONNX, or is damaged. */
export class NotOnnx extends Error {
  override name = 'NotOnnx';
}

const WINDOW_BYTES = 1 << 16;
/** Real names and locations are far shorter; a longer one means a damaged file. */
const MAX_NAME_BYTES = 1 << 16;
/** Nesting of graphs, as in If and Loop. */
const MAX_DEPTH = 64;
/** TensorProto.DataLocation */
const EXTERNAL = 1;

/** @throws NotOnnx, or an error of the file system */
export function readOnnxGraph(file: string): OnnxGraph {
  const handle = openSync(file, 'r');
  try {
    const reader = new GraphReader(new FileWindow(handle, fstatSync(handle).size));
    return reader.read();
  } finally {
    closeSync(handle);
  }
}

/** The last operator that computes `output`, skipping those that only move or convert values. */
export function lastOperator(graph: OnnxGraph, output: string): string | undefined {
  const producers = new Map(graph.nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  let node = producers.get(output);
  for (let steps = 0; node && MOVING.has(node.op) && steps < MAX_DEPTH; steps++) {
    node = producers.get(node.inputs[0] ?? '');
  }
  return node?.op;
}

/** Rows of the embedding table for token ids; undefined when unknown. */
export function embeddingRows({ nodes, weights }: OnnxGraph, input: string): number | undefined {
  /** Names of the token ids, before and after conversions. */
  const ids = new Set([input]);
  for (const { op, inputs, outputs } of nodes) {
    if ((op === 'Cast' || op === 'Identity') && ids.has(inputs[0] ?? '')) ids.add(outputs[0] ?? '');
    const places = LOOKUPS[op];
    if (!places || !ids.has(inputs[places.ids] ?? '')) continue;
    const rows = weights.get(inputs[places.table] ?? '')?.[0];
    if (rows !== undefined) return rows;
  }
  return undefined;
}

/** Operators that look up ids in a table, with the indexes of both inputs. */
const LOOKUPS: Record<string, { table: number; ids: number }> = {
  Gather: { table: 0, ids: 1 },
  GatherBlockQuantized: { table: 0, ids: 1 },
  EmbedLayerNormalization: { table: 2, ids: 0 },
};

const MOVING = new Set([
  'Identity',
  'Cast',
  'Squeeze',
  'Unsqueeze',
  'Reshape',
  'Flatten',
  'Transpose',
  'Dropout',
  'Clip',
  'QuantizeLinear',
  'DequantizeLinear',
]);

/** A range of the file: one message or one value. */
interface Span {
  start: number;
  end: number;
}

interface Field extends Span {
  number: number;
  /** Value of a varint; other kinds have a span. */
  value?: number;
}

class GraphReader {
  readonly #file: FileWindow;
  readonly #external = new Set<string>();
  readonly #operators = new Set<string>();
  readonly #nodes: OnnxNode[] = [];
  readonly #weights = new Map<string, number[]>();
  readonly #outputs: string[] = [];

  constructor(file: FileWindow) {
    this.#file = file;
  }

  read(): OnnxGraph {
    let found = false;
    // ModelProto
    for (const field of this.#fields({ start: 0, end: this.#file.size })) {
      if (field.number === 7) {
        found = true;
        this.#graph(field, 0);
      } else if (field.number === 25) this.#function(field);
    }
    if (!found) throw new NotOnnx('it has no graph');
    return {
      externalData: [...this.#external],
      operators: this.#operators,
      nodes: this.#nodes,
      weights: this.#weights,
      outputs: this.#outputs,
    };
  }

  /** GraphProto. @param depth 0 is the main graph */
  #graph(span: Span, depth: number): void {
    if (depth > MAX_DEPTH) throw new NotOnnx('its graphs are nested too deeply');
    for (const field of this.#fields(span)) {
      if (field.number === 1) this.#node(field, depth);
      else if (field.number === 5) {
        const { name, dims } = this.#tensor(field);
        if (depth === 0) this.#weights.set(name, dims);
      } else if (field.number === 15) this.#sparseTensor(field);
      else if (field.number === 12 && depth === 0) {
        const name = this.#only(field, 1);
        if (name) this.#outputs.push(this.#text(name));
      }
    }
  }

  /** FunctionProto: nodes that other nodes call by the function's name. */
  #function(span: Span): void {
    for (const field of this.#fields(span)) if (field.number === 7) this.#node(field, 1);
  }

  #node(span: Span, depth: number): void {
    const node: OnnxNode = { op: '', inputs: [], outputs: [] };
    for (const field of this.#fields(span)) {
      if (field.number === 1) node.inputs.push(this.#text(field));
      else if (field.number === 2) node.outputs.push(this.#text(field));
      else if (field.number === 4) node.op = this.#text(field);
      else if (field.number === 5) this.#attribute(field, depth);
    }
    this.#operators.add(node.op);
    if (depth > 0) return;
    this.#nodes.push(node);
    // A Constant node is a weight in another form.
    const [output] = node.outputs;
    if (node.op === 'Constant' && output !== undefined) {
      for (const attribute of this.#fields(span)) {
        const value = attribute.number === 5 ? this.#only(attribute, 5) : undefined;
        if (value) this.#weights.set(output, this.#tensor(value).dims);
      }
    }
  }

  /** AttributeProto: may hold tensors and graphs. */
  #attribute(span: Span, depth: number): void {
    for (const field of this.#fields(span)) {
      if (field.number === 5 || field.number === 10) this.#tensor(field);
      else if (field.number === 6 || field.number === 11) this.#graph(field, depth + 1);
      else if (field.number === 22 || field.number === 23) this.#sparseTensor(field);
    }
  }

  #sparseTensor(span: Span): void {
    for (const field of this.#fields(span)) if (field.number === 1 || field.number === 2) this.#tensor(field);
  }

  #tensor(span: Span): { name: string; dims: number[] } {
    const tensor = { name: '', dims: [] as number[] };
    let location: string | undefined;
    let external = false;
    for (const field of this.#fields(span)) {
      if (field.number === 1) for (const dim of this.#numbers(field)) tensor.dims.push(dim);
      else if (field.number === 8) tensor.name = this.#text(field);
      else if (field.number === 14) external = field.value === EXTERNAL;
      else if (field.number === 13) {
        const [key, value] = [this.#only(field, 1), this.#only(field, 2)];
        if (key && value && this.#text(key) === 'location') location = this.#text(value);
      }
    }
    if (external) this.#external.add(location ?? '');
    return tensor;
  }

  /** One number, or several from a packed field. */
  #numbers(field: Field): number[] {
    if (field.value !== undefined) return [field.value];
    const numbers: number[] = [];
    for (let at = field.start; at < field.end;) {
      const { value, end } = this.#varint(at, field.end);
      numbers.push(value);
      at = end;
    }
    return numbers;
  }

  /** The last field with that number, which overrides earlier ones. */
  #only(span: Span, number: number): Field | undefined {
    let found: Field | undefined;
    for (const field of this.#fields(span)) if (field.number === number) found = { ...field };
    return found;
  }

  #text({ start, end }: Span): string {
    if (end - start > MAX_NAME_BYTES) throw new NotOnnx('a name in it is too long');
    return this.#file.slice(start, end).toString('utf8');
  }

  *#fields({ start, end }: Span): Generator<Field> {
    for (let at = start; at < end;) {
      const tag = this.#varint(at, end);
      const number = Math.floor(tag.value / 8);
      const kind = tag.value % 8;
      if (number === 0) throw new NotOnnx('it is not an ONNX file, or is damaged');
      let field: Field;
      if (kind === 0) {
        const { value, end: behind } = this.#varint(tag.end, end);
        field = { number, value, start: behind, end: behind };
      } else if (kind === 2) {
        const { value: length, end: from } = this.#varint(tag.end, end);
        field = { number, start: from, end: from + length };
      } else if (kind === 1 || kind === 5) {
        field = { number, start: tag.end, end: tag.end + (kind === 1 ? 8 : 4) };
      } else throw new NotOnnx('it is not an ONNX file, or is damaged');
      if (field.end > end) throw new NotOnnx('it is cut off, or damaged');
      yield field;
      at = field.end;
    }
  }

  /** Seven bits per byte, the lowest first; the top bit is set when more follow. At most ten bytes. */
  #varint(start: number, limit: number): { value: number; end: number } {
    let value = 0;
    let scale = 1;
    for (let at = start; at < limit && at < start + 10; at++) {
      const byte = this.#file.byte(at);
      value += (byte & 127) * scale;
      if (byte < 128) return { value, end: at + 1 };
      scale *= 128;
    }
    throw new NotOnnx('it is cut off, or damaged');
  }
}

/** A file of any size, of which one small window is in memory. */
class FileWindow {
  readonly size: number;
  readonly #handle: number;
  readonly #buffer = Buffer.alloc(WINDOW_BYTES);
  #start = 0;
  #end = 0;

  constructor(handle: number, size: number) {
    this.#handle = handle;
    this.size = size;
  }

  byte(at: number): number {
    if (at < this.#start || at >= this.#end) this.#load(at);
    const byte = this.#buffer[at - this.#start];
    if (byte === undefined || at >= this.#end) throw new NotOnnx('it is cut off, or damaged');
    return byte;
  }

  /** A copy. */
  slice(start: number, end: number): Buffer {
    if (start < this.#start || end > this.#end) this.#load(start);
    if (end > this.#end) throw new NotOnnx('it is cut off, or damaged');
    return Buffer.from(this.#buffer.subarray(start - this.#start, end - this.#start));
  }

  #load(at: number): void {
    this.#start = at;
    this.#end = at;
    for (let read; this.#end - at < WINDOW_BYTES;) {
      read = readSync(this.#handle, this.#buffer, this.#end - at, WINDOW_BYTES - (this.#end - at), this.#end);
      if (read === 0) break;
      this.#end += read;
    }
  }
}
