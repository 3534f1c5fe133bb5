/**
 * Writes ONNX files without a protobuf library: the few messages and fields of onnx.proto that a graph of operators and
 * weights needs. Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
 */

/** TensorProto.DataType */
export const DataType = { float: 1, uint8: 2, int8: 3, int32: 6, int64: 7 } as const;

export interface Weight {
  type: keyof typeof DataType;
  /** Empty for a scalar. */
  dims: number[];
  data: Float32Array | Uint8Array | Int8Array | Int32Array | BigInt64Array;
}

export interface Operator {
  op: string;
  /** '' for an omitted optional input. */
  inputs: string[];
  outputs: string[];
  /** Absent for operators of ONNX itself. */
  domain?: string;
  attributes?: Record<string, { int: number } | { float: number }>;
}

export interface Port {
  name: string;
  type: keyof typeof DataType;
  /** A name for a dimension that differs from run to run. */
  dims: (number | string)[];
}

export interface Graph {
  name: string;
  operators: Operator[];
  weights: Map<string, Weight>;
  inputs: Port[];
  outputs: Port[];
  /** Version of each operator set, by its domain; '' is that of ONNX. */
  operatorSets: Record<string, number>;
}

/** The file's bytes (ModelProto). */
export function encodeModel(graph: Graph): Buffer {
  return message(
    int(1, 8), // ir_version: that of ONNX 1.11 to 1.13, old enough for every runtime in use
    text(2, 'amulet'), // producer_name
    bytes(7, graphProto(graph)),
    ...Object.entries(graph.operatorSets).map(([domain, version]) =>
      bytes(8, message(text(1, domain), int(2, version))),
    ),
  );
}

function graphProto({ name, operators, weights, inputs, outputs }: Graph): Buffer {
  return message(
    ...operators.map((operator) => bytes(1, nodeProto(operator))),
    text(2, name),
    ...Array.from(weights, ([name, weight]) => bytes(5, tensorProto(name, weight))),
    ...inputs.map((port) => bytes(11, valueInfoProto(port))),
    ...outputs.map((port) => bytes(12, valueInfoProto(port))),
  );
}

function nodeProto({ op, inputs, outputs, domain = '', attributes = {} }: Operator): Buffer {
  return message(
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, op),
    ...Object.entries(attributes).map(([name, value]) =>
      // AttributeProto: name, f or i, type (1 float, 2 int)
      bytes(
        5,
        'int' in value
          ? message(text(1, name), int(3, value.int), int(20, 2))
          : message(text(1, name), float(2, value.float), int(20, 1)),
      ),
    ),
    text(7, domain),
  );
}

function tensorProto(name: string, { type, dims, data }: Weight): Buffer {
  return message(
    ...dims.map((dim) => int(1, dim)),
    int(2, DataType[type]),
    text(8, name),
    // raw_data is little-endian, as is the memory of every machine that onnxruntime-node has a build for.
    bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  );
}

function valueInfoProto({ name, type, dims }: Port): Buffer {
  const shape = dims.map((dim) => bytes(1, message(typeof dim === 'number' ? int(1, dim) : text(2, dim))));
  // TypeProto.tensor_type: elem_type and shape
  const tensor = message(int(1, DataType[type]), bytes(2, message(...shape)));
  return message(text(1, name), bytes(2, message(bytes(1, tensor))));
}

// Protobuf's wire format: a varint `field << 3 | kind` before every value; kind 0 is a varint, 2 a length and bytes,
// 5 four bytes.

const message = (...fields: Buffer[]): Buffer => Buffer.concat(fields);
const int = (field: number, value: number): Buffer => message(varint(field << 3), varint(value));
const text = (field: number, value: string): Buffer => bytes(field, Buffer.from(value));
const bytes = (field: number, value: Buffer): Buffer =>
  message(varint((field << 3) | 2), varint(value.length), value);

function float(field: number, value: number): Buffer {
  const four = Buffer.alloc(4);
  four.writeFloatLE(value);
  return message(varint((field << 3) | 5), four);
}

/** Seven bits a byte, the lowest first, the top bit set on all but the last. Not for negative numbers. */
function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
  out.push(rest);
  return Buffer.from(out);
}
