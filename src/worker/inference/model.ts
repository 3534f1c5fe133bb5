/** The ONNX session and the tensors that go in and out of it. Lives in the model child. */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { StartupError, toError } from '../../shared/errors.ts';
import { float16ToFloat32 } from './float16.ts';
import type { GraphInfo, LoadMessage, RunMessage } from './protocol.ts';

/** Inputs a text classifier may have; whatever else the graph asks for, we cannot feed. */
const KNOWN_INPUTS = ['input_ids', 'attention_mask', 'token_type_ids'];

/** Rows of rising length that every session runs once before it counts as ready. */
const WARM_UP_TOKENS = [8, 64, 256];

/** Padding is masked out, so any id that every vocabulary has will do. */
const PAD_ID = 0;

export interface Logits {
  /** Shape [rows × outputs]. */
  values: Float32Array;
  rows: number;
  outputs: number;
}

export class Model {
  readonly #session: InferenceSession;
  readonly #inputTypes: Map<string, 'int64' | 'int32'>;
  readonly #output: string;
  readonly #maxTokens: number;

  private constructor(session: InferenceSession, maxTokens: number) {
    this.#session = session;
    this.#maxTokens = maxTokens;
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
    const output = session.outputNames.includes('logits') ? 'logits' : session.outputNames[0];
    if (output === undefined) throw new StartupError('the graph has no output');
    this.#output = output;
  }

  /** @throws StartupError when the file is no model that can be served */
  static async load(message: LoadMessage): Promise<Model> {
    const { onnxFile, executionProviders, intraOpThreads, maxTokens = Infinity } = message;
    let session: InferenceSession;
    try {
      session = await InferenceSession.create(onnxFile, {
        executionProviders,
        intraOpNumThreads: intraOpThreads,
        interOpNumThreads: 1,
        graphOptimizationLevel: 'all',
        logSeverityLevel: 3,
        // Spinning threads burn the cores that the other processes need.
        extra: { session: { intra_op: { allow_spinning: '0' } } },
      });
    } catch (error) {
      throw new StartupError(`${onnxFile} cannot be loaded: ${oneLine(error)}`, { cause: error });
    }
    try {
      return new Model(session, maxTokens);
    } catch (error) {
      if (error instanceof StartupError)
        throw new StartupError(`${onnxFile} cannot be served: ${error.message}`);
      throw error;
    }
  }

  /**
   * Runs the model on a few made-up rows, so that the first real one finds it warm.
   * @returns what the graph has turned out to be
   * @throws StartupError when the output is not one row of finite numbers per text
   */
  async warmUp(): Promise<GraphInfo> {
    let width = 0;
    for (const wanted of WARM_UP_TOKENS) {
      const tokens = Math.min(wanted, this.#maxTokens);
      const lengths = Int32Array.of(tokens, Math.ceil(tokens / 2));
      const ids = new Int32Array(tokens + Math.ceil(tokens / 2)).fill(1);
      let logits: Logits;
      try {
        logits = await this.run({ ids, lengths, typeIds: undefined });
      } catch (error) {
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
    };
  }

  /** Runs one batch. */
  async run({ ids, lengths, typeIds }: Pick<RunMessage, 'ids' | 'lengths' | 'typeIds'>): Promise<Logits> {
    const rows = lengths.length;
    const width = lengths.reduce((longest, length) => Math.max(longest, length), 0);
    const feeds: Record<string, Tensor> = {};
    for (const [name, type] of this.#inputTypes) {
      feeds[name] = inputTensor(name, type, { ids, lengths, typeIds }, rows, width);
    }
    const output = (await this.#session.run(feeds, [this.#output]))[this.#output];
    if (!output) throw new Error(`the graph returned no ${this.#output}`);
    const { dims } = output;
    const outputs = dims[1];
    if (dims.length !== 2 || dims[0] !== rows || outputs === undefined) {
      throw new StartupError(
        `${this.#output} has shape [${dims.join(', ')}] for ${rows} texts; expected [${rows}, labels]`,
      );
    }
    return { values: this.#toFloat32(output), rows, outputs };
  }

  #toFloat32({ type, data }: Tensor): Float32Array {
    if (data instanceof Float32Array) return data;
    if (type === 'float16' && ArrayBuffer.isView(data)) return float16ToFloat32(data);
    throw new StartupError(`${this.#output} is ${type}; expected float32 or float16`);
  }
}

/** ONNX Runtime's messages may have several lines. */
function oneLine(error: unknown): string {
  return toError(error).message.replace(/\s+/g, ' ').trim();
}

/** Lays rows out as a padded [rows, width] tensor of the type that the graph wants. */
function inputTensor(
  name: string,
  type: 'int64' | 'int32',
  { ids, lengths, typeIds }: Pick<RunMessage, 'ids' | 'lengths' | 'typeIds'>,
  rows: number,
  width: number,
): Tensor {
  // An int64 that fits 32 bits is, in little-endian memory, its low word followed by zeros: writing every other word of
  // a zeroed buffer fills it without one BigInt. (Node runs on little-endian machines only, s390x aside, and
  // onnxruntime-node has no build for that one.)
  const words = type === 'int64' ? 2 : 1;
  const buffer = new ArrayBuffer(rows * width * words * 4);
  const cells = new Int32Array(buffer);
  let source = 0;
  for (let row = 0; row < rows; row++) {
    const length = lengths[row] ?? 0;
    let cell = row * width * words;
    for (let i = 0; i < length; i++, cell += words) {
      cells[cell] =
        name === 'input_ids'
          ? (ids[source + i] ?? PAD_ID)
          : name === 'attention_mask'
            ? 1
            : (typeIds?.[source + i] ?? 0);
    }
    source += length;
  }
  return type === 'int64'
    ? new Tensor('int64', new BigInt64Array(buffer), [rows, width])
    : new Tensor('int32', cells, [rows, width]);
}
