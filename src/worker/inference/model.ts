/** The ONNX session, with its input and output tensors. Runs in the model child. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { float16ToFloat32 } from './float16.ts';
import type { GraphInfo, LoadMessage, Padding, RunMessage } from './protocol.ts';

/** Inputs that a text classifier may have; a graph with any other cannot be served. */
const KNOWN_INPUTS = ['input_ids', 'attention_mask', 'token_type_ids', 'position_ids'];

/** Rows of rising length that every session runs before it counts as ready. */
const WARM_UP_TOKENS = [8, 64, 256];

/** Used until the padding is known; every vocabulary has id 0. */
const DEFAULT_PADDING: Padding = { id: 0, side: 'right' };

/** Run options: log only fatal errors. */
const SILENT = { logSeverityLevel: 4 } as const;

type Rows = Pick<RunMessage, 'ids' | 'lengths' | 'typeIds' | 'padding' | 'silent'>;

export interface Logits {
  /** Shape [rows × outputs]. */
  values: Float32Array;
  outputs: number;
}

export class Model {
  readonly #session: InferenceSession;
  readonly #inputTypes: Map<string, 'int64' | 'int32'>;
  readonly #output: string;
  readonly #maxTokens: number;
  readonly #firstPosition: number;
  readonly #fixed: NonNullable<GraphInfo['fixed']>;

  private constructor(session: InferenceSession, { maxTokens = Infinity, firstPosition = 0 }: LoadMessage) {
    this.#session = session;
    this.#firstPosition = firstPosition;
    this.#inputTypes = new Map();
    for (const input of session.inputMetadata) {
      const type = input.isTensor ? input.type : 'something else';
      if (!KNOWN_INPUTS.includes(input.name) || (type !== 'int64' && type !== 'int32')) {
        throw new StartupError(
          `the graph has an input ${input.name} (${type}); a text classifier has ${KNOWN_INPUTS.join(', ')} as int64 or int32`,
        );
      }
      this.#inputTypes.set(input.name, type);
    }
    if (!this.#inputTypes.has('input_ids')) throw new StartupError('the graph has no input named input_ids');
    this.#fixed = fixedDimensions(session);
    this.#maxTokens = Math.min(maxTokens, this.#fixed.tokens ?? Infinity);
    this.#output = chooseOutput(session);
  }

  /** @throws StartupError when the file is not a model that can be served */
  static async load(message: LoadMessage): Promise<Model> {
    const { onnxFile, executionProviders, intraOpThreads } = message;
    let session: InferenceSession;
    try {
      session = await InferenceSession.create(onnxFile, {
        executionProviders,
        intraOpNumThreads: intraOpThreads,
        interOpNumThreads: 1,
        graphOptimizationLevel: 'all',
        // A pattern is kept for every shape of a batch, each with room for all tensors of a run at once.
        enableMemPattern: false,
        logSeverityLevel: 3,
        // Spinning threads burn the cores that the other processes need.
        extra: { session: { intra_op: { allow_spinning: '0' } } },
      });
    } catch (error) {
      throw new StartupError(`${onnxFile} cannot be loaded: ${oneLine(error)}`, { cause: error });
    }
    try {
      return new Model(session, message);
    } catch (error) {
      if (error instanceof StartupError)
        throw new StartupError(`${onnxFile} cannot be served: ${error.message}`);
      throw error;
    }
  }

  /**
   * Runs the model on a few synthetic rows, so that the first real row finds it warm. Only the shortest rows must succeed: whether
   * the graph accepts as many tokens as its config says is tried later (model-probe.ts).
   * @returns inputs and outputs of the graph
   * @throws StartupError when the output is not one row of finite numbers per text
   */
  async warmUp(): Promise<GraphInfo> {
    let width = 0;
    for (const wanted of WARM_UP_TOKENS) {
      const tokens = Math.min(wanted, this.#maxTokens);
      const lengths = Int32Array.from([tokens, Math.ceil(tokens / 2)].slice(0, this.#fixed.rows ?? Infinity));
      const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0)).fill(1);
      let logits: Logits;
      try {
        logits = await this.run({ ids, lengths, typeIds: undefined, silent: width > 0 });
      } catch (error) {
        if (width > 0 && !(error instanceof StartupError)) break;
        throw new StartupError(`the warm-up run failed: ${oneLine(error)}`, { cause: error });
      }
      if (!logits.values.every(Number.isFinite))
        throw new StartupError('the warm-up run gave NaN or infinite logits');
      width = logits.outputs;
    }
    const output = this.#session.outputMetadata.find(({ name }) => name === this.#output);
    return {
      inputs: [...this.#inputTypes].map(([name, type]) => ({ name, type })),
      output: { name: this.#output, type: output?.isTensor ? output.type : 'unknown', width },
      fixed: this.#fixed,
    };
  }

  /** Runs one batch. */
  async run(batch: Rows): Promise<Logits> {
    const { lengths } = batch;
    const rows = lengths.length;
    const longest = lengths.reduce((most, length) => Math.max(most, length), 0);
    const width = this.#fixed.tokens ?? longest;
    if (longest > width) throw new Error(`the graph reads ${width} tokens, and the text has ${longest}`);
    const feeds: Record<string, Tensor> = {};
    for (const [name, type] of this.#inputTypes) {
      feeds[name] = inputTensor(type, batch, [rows, width], this.#filler(name, batch));
    }
    const output = (await this.#session.run(feeds, [this.#output], batch.silent ? SILENT : {}))[this.#output];
    if (!output) throw new Error(`the graph returned no ${this.#output}`);
    const { dims } = output;
    // A model with a single label may omit the dimension of labels.
    const outputs = dims.length === 1 ? 1 : dims[1];
    if (dims.length > 2 || dims[0] !== rows || outputs === undefined) {
      throw new StartupError(
        `${this.#output} has shape [${dims.join(', ')}] for ${rows} texts; expected [${rows}, labels]`,
      );
    }
    return { values: this.#toFloat32(output), outputs };
  }

  #filler(name: string, { ids, typeIds, padding = DEFAULT_PADDING }: Rows): Filler {
    switch (name) {
      case 'input_ids':
        return { pad: padding.id, at: (source) => ids[source] ?? padding.id };
      case 'attention_mask':
        return { pad: 0, at: () => 1 };
      case 'position_ids':
        return { pad: 0, at: (_, place) => this.#firstPosition + place };
      default:
        return { pad: 0, at: (source) => typeIds?.[source] ?? 0 };
    }
  }

  #toFloat32({ type, data }: Tensor): Float32Array {
    if (data instanceof Float32Array) return data;
    if (data instanceof Float64Array) return Float32Array.from(data);
    if (type === 'float16' && ArrayBuffer.isView(data)) return float16ToFloat32(data);
    throw new StartupError(`${this.#output} is ${type}; expected float32, float16 or float64`);
  }
}

/** Dimensions that the graph fixes in its inputs. @throws StartupError when it fixes a number of rows other than 1 */
function fixedDimensions(session: InferenceSession): NonNullable<GraphInfo['fixed']> {
  const fixed: { rows?: number; tokens?: number } = {};
  for (const input of session.inputMetadata) {
    const [rows, tokens] = input.isTensor ? input.shape : [];
    if (typeof rows === 'number' && rows > 0) fixed.rows = rows;
    if (typeof tokens === 'number' && tokens > 0) fixed.tokens = tokens;
  }
  if (fixed.rows !== undefined && fixed.rows !== 1) {
    throw new StartupError(
      `the graph takes exactly ${fixed.rows} texts at a time; export it with a dynamic batch dimension`,
    );
  }
  return fixed;
}

const FLOATS = ['float32', 'float16', 'float64'];
/** Names that exporters give to the output with the scores, in order of preference. */
const OUTPUT_NAMES = ['logits', 'probabilities', 'probs', 'scores', 'output'];

/** The output that has a row of numbers per text. @throws StartupError that describes the existing outputs */
function chooseOutput({ outputMetadata }: InferenceSession): string {
  const described: string[] = [];
  const usable: string[] = [];
  for (const output of outputMetadata) {
    // ZipMap, in models made by scikit-learn, turns scores into a sequence of maps.
    if (!output.isTensor)
      described.push(`${output.name} (a sequence or map as made by ZipMap, not a tensor)`);
    else if (!FLOATS.includes(output.type)) {
      const chosen = /^u?int/.test(output.type) ? ': the index of a label, without its score' : '';
      described.push(`${output.name} (${output.type}${chosen})`);
    } else if (output.shape.length > 2) {
      described.push(`${output.name} (${output.type} of shape [${output.shape.join(', ')}])`);
    } else usable.push(output.name);
  }
  const chosen = OUTPUT_NAMES.find((name) => usable.includes(name)) ?? usable[0];
  if (chosen !== undefined) return chosen;
  if (described.length === 0) throw new StartupError('the graph has no output');
  throw new StartupError(
    `the graph has no output of float32, float16 or float64 with the shape [texts, labels], but ${described.join(', ')}`,
  );
}

/** The message of an error in one line: ONNX Runtime's may have several. */
function oneLine(error: unknown): string {
  return toError(error).message.replace(/\s+/g, ' ').trim();
}

/** Values of an input: for padding, and for a token, given its index in the batch and its position in its row. */
interface Filler {
  pad: number;
  at: (source: number, place: number) => number;
}

/** Makes a padded [rows, width] tensor of the type that the graph needs. */
function inputTensor(
  type: 'int64' | 'int32',
  { lengths, padding = DEFAULT_PADDING }: Rows,
  [rows, width]: [number, number],
  { pad, at }: Filler,
): Tensor {
  // An int64 that fits 32 bits is, in little-endian memory, its low word followed by zeros: writing every other word of
  // a zeroed buffer fills it without one BigInt. (Node runs on little-endian machines only, s390x aside, and
  // onnxruntime-node has no build for that one.)
  const words = type === 'int64' ? 2 : 1;
  const buffer = new ArrayBuffer(rows * width * words * 4);
  const cells = new Int32Array(buffer);
  if (pad !== 0) for (let cell = 0; cell < cells.length; cell += words) cells[cell] = pad;
  let source = 0;
  for (let row = 0; row < rows; row++) {
    const length = lengths[row] ?? 0;
    const start = padding.side === 'left' ? width - length : 0;
    let cell = (row * width + start) * words;
    for (let place = 0; place < length; place++, cell += words) cells[cell] = at(source + place, place);
    source += length;
  }
  return type === 'int64'
    ? new Tensor('int64', new BigInt64Array(buffer), [rows, width])
    : new Tensor('int32', cells, [rows, width]);
}
