/**
 * The messages between a worker and its model child, over Node's IPC channel with structured clone
 * (`serialization: 'advanced'`), which moves typed arrays as raw bytes.
 */

/** Asks the child to load the model. */
export interface LoadMessage {
  type: 'load';
  onnxFile: string;
  executionProviders: string[];
  intraOpThreads: number;
  /** Most tokens of one text; the graph may fail on longer ones. Undefined: not known. */
  maxTokens?: number;
  /** Position of a row's first token, for a graph that has position_ids as an input. Undefined: 0. */
  firstPosition?: number;
}

/** How rows are filled up to the longest of their batch. */
export interface Padding {
  /** Token id. */
  id: number;
  side: 'left' | 'right';
}

/** Asks the child to run one batch. The rows are concatenated, without padding; the child pads them into its input tensors. */
export interface RunMessage {
  type: 'run';
  id: number;
  /** Runs before batches that are not urgent. */
  urgent: boolean;
  /** ONNX Runtime logs no failure, because one is expected. */
  silent?: boolean;
  /** Token ids of all rows; shape [Σ lengths]. */
  ids: Int32Array;
  /** Tokens of each row; shape [rows]. */
  lengths: Int32Array;
  /** Segment ids of all rows, shape [Σ lengths]; undefined: all 0. */
  typeIds: Int32Array | undefined;
  /** Undefined: id 0, on the right. */
  padding?: Padding | undefined;
}

export type ToChild = LoadMessage | RunMessage;

/** Inputs and outputs of a graph. */
export interface GraphInfo {
  inputs: { name: string; type: string }[];
  /** Shape [rows, width]. */
  output: { name: string; type: string; width: number };
  /** Dimensions of the inputs that the graph fixes. Shorter rows are padded to `tokens`. */
  fixed?: { rows?: number; tokens?: number };
}

export type FromChild =
  /** Loaded and warmed up. */
  | { type: 'ready'; graph: GraphInfo }
  /** The model cannot be served; restarting the child would not help. */
  | { type: 'unusable'; message: string }
  /** logits: shape [rows × outputs], row after row. `ms`: time in session.run. */
  | { type: 'result'; id: number; logits: Float32Array; ms: number }
  | { type: 'error'; id: number; message: string };
