/**
 * Replaces onnxruntime-node by a session that computes nothing and sleeps STUB_US_PER_TOKEN for every padded token. Like a model
 * on separate cores it takes time but no CPU, so a bench measures everything but the model.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** Labels of the shipped model, whose tokenizer and labels are in use. */
const LABELS = 2;

const microsPerToken = Number(process.env.STUB_US_PER_TOKEN ?? 0);

export class Tensor {
  readonly type: string;
  readonly data: unknown;
  readonly dims: readonly number[];

  constructor(type: string, data: unknown, dims: readonly number[]) {
    this.type = type;
    this.data = data;
    this.dims = dims;
  }
}

export class InferenceSession {
  // With a mask, as of the shipped model: without one, a worker would batch only rows of equal length.
  readonly inputMetadata = ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => ({
    name,
    isTensor: true,
    type: 'int64',
    shape: ['rows', 'tokens'],
  }));
  readonly outputNames = ['logits'];
  readonly outputMetadata = [{ name: 'logits', isTensor: true, type: 'float32', shape: ['rows', LABELS] }];

  static create(): Promise<InferenceSession> {
    return Promise.resolve(new InferenceSession());
  }

  async run({ input_ids: ids }: Record<string, Tensor>): Promise<Record<string, Tensor>> {
    const [rows = 0, width = 0] = ids?.dims ?? [];
    const ms = (rows * width * microsPerToken) / 1000;
    if (ms > 0) await sleep(ms);
    return { logits: new Tensor('float32', new Float32Array(rows * LABELS), [rows, LABELS]) };
  }
}
