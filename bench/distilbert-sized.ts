/**
 * Generates a classifier of DistilBERT's shape with random weights: it costs as much CPU as a quantised DistilBERT. Measures the
 * service with a larger model, without a download and without Python.
 *
 * The graph is that of models/prepare/quantise.py: u8 activations with fixed scales, s8 weights of 7 bits with one scale a
 * channel, QAttention and MatMulIntegerToFloat with their biases, s8 word embeddings gathered first and scaled afterwards;
 * behind the last attention only the first token is computed. Weights are drawn so that every product has a variance of
 * about 1; the activations' scales follow from that.
 */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeModel, type Graph, type Operator, type Weight } from './onnx-writer.ts';

export interface Shape {
  layers: number;
  hidden: number;
  heads: number;
  feedForward: number;
  positions: number;
  vocabulary: number;
  labels: number;
}

/** distilbert-base-uncased, whose vocabulary is that of the shipped tokenizer. */
const DISTILBERT: Shape = {
  layers: 6,
  hidden: 768,
  heads: 12,
  feedForward: 3072,
  positions: 512,
  vocabulary: 30_522,
  labels: 2,
};

const SHIPPED = fileURLToPath(new URL('../models/sst2-minilm', import.meta.url));
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'];
const ONNX_FILE = 'onnx/model_quantized.onnx';

/** Codes of a 7-bit weight: -63 to 63. */
const WEIGHT_LIMIT = 63;
/** Standard deviation of codes drawn evenly from all of these. */
const WEIGHT_DEVIATION = Math.sqrt((WEIGHT_LIMIT * (WEIGHT_LIMIT + 1)) / 3);
/** Mean square of GELU(x) for x from a normal distribution. */
const GELU_MEAN_SQUARE = 0.425;

/**
 * Writes the model folder, unless it is there from an earlier run.
 * @param folder where such folders are kept
 * @returns the path of the model folder in Hugging Face layout
 */
export function makeDistilbertSized(folder: string, shape: Shape = DISTILBERT): string {
  // The key covers every input of the result: this file, the writer, the shape, the shipped tokenizer.
  const key = createHash('sha256').update(JSON.stringify(shape));
  for (const source of [import.meta.filename, fileURLToPath(new URL('./onnx-writer.ts', import.meta.url))]) {
    key.update(readFileSync(source));
  }
  for (const name of ['config.json', ...TOKENIZER_FILES]) key.update(readFileSync(path.join(SHIPPED, name)));
  const home = path.resolve(folder, key.digest('hex').slice(0, 12));
  // The service names a model by its folder's last part.
  const target = path.join(home, 'distilbert-sized');
  if (existsSync(target)) return target;

  // Written beside and renamed when complete: an interrupted run leaves nothing that looks like a model.
  const draft = `${target}.${process.pid}`;
  mkdirSync(path.join(draft, 'onnx'), { recursive: true });
  for (const name of TOKENIZER_FILES) copyFileSync(path.join(SHIPPED, name), path.join(draft, name));
  writeFileSync(path.join(draft, 'config.json'), `${JSON.stringify(config(shape), null, 2)}\n`);
  writeFileSync(path.join(draft, ONNX_FILE), encodeModel(distilbert(shape)));
  const files = Object.fromEntries(
    ['config.json', ...TOKENIZER_FILES, ONNX_FILE].map((name) => [
      name,
      {
        sha256: createHash('sha256')
          .update(readFileSync(path.join(draft, name)))
          .digest('hex'),
      },
    ]),
  );
  const revision = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 12);
  writeFileSync(path.join(draft, 'manifest.json'), `${JSON.stringify({ revision, files }, null, 2)}\n`);
  try {
    renameSync(draft, target);
  } catch (error) {
    // Another process was faster; its folder has the same files.
    rmSync(draft, { recursive: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}

function config(shape: Shape): object {
  const shipped = JSON.parse(readFileSync(path.join(SHIPPED, 'config.json'), 'utf8')) as Record<
    'id2label' | 'label2id' | 'pad_token_id' | 'problem_type',
    unknown
  >;
  const { id2label, label2id, pad_token_id, problem_type } = shipped;
  return {
    architectures: ['DistilBertForSequenceClassification'],
    model_type: 'distilbert',
    activation: 'gelu',
    n_layers: shape.layers,
    dim: shape.hidden,
    n_heads: shape.heads,
    hidden_dim: shape.feedForward,
    max_position_embeddings: shape.positions,
    vocab_size: shape.vocabulary,
    id2label,
    label2id,
    pad_token_id,
    problem_type,
  };
}

/** Names of an activation's codes, scale and zero point. */
type Quantised = [codes: string, scale: string, zero: string];

function distilbert({ layers, hidden, heads, feedForward, positions, vocabulary, labels }: Shape): Graph {
  const operators: Operator[] = [];
  const weights = new Map<string, Weight>();
  const random = pseudoRandom(1);

  const constant = (name: string, type: Weight['type'], dims: number[], data: Weight['data']): string => {
    weights.set(name, { type, dims, data });
    return name;
  };
  /** Evenly drawn floats around 0, of a given standard deviation. */
  const floats = (name: string, dims: number[], deviation: number): string => {
    const width = 2 * Math.sqrt(3) * deviation;
    const size = dims.reduce((product, dim) => product * dim, 1);
    const values = Float32Array.from({ length: size }, () => (random() - 0.5) * width);
    return constant(name, 'float', dims, values);
  };
  const int64 = (name: string, dims: number[], values: number[]): string =>
    constant(name, 'int64', dims, BigInt64Array.from(values, BigInt));
  const add = (op: string, inputs: string[], output: string, more: Partial<Operator> = {}): string => {
    operators.push({ op, inputs, outputs: [output], ...more });
    return output;
  };
  const microsoft = { domain: 'com.microsoft' };

  const codes = (name: string, dims: number[], limit: number): string => {
    const values = new Int8Array(dims.reduce((product, dim) => product * dim, 1));
    for (let i = 0; i < values.length; i++) values[i] = Math.floor(random() * (2 * limit + 1)) - limit;
    return constant(name, 'int8', dims, values);
  };
  /** A tensor as u8 codes that cover low to high. */
  const quantise = (name: string, low: number, high: number): Quantised => {
    const scale = (high - low) / 255;
    const names: Quantised = [`${name}_u8`, `${name}_scale`, `${name}_zero`];
    constant(names[1], 'float', [], Float32Array.of(scale));
    constant(names[2], 'uint8', [], Uint8Array.of(Math.round(-low / scale)));
    add('QuantizeLinear', [name, names[1], names[2]], names[0]);
    return names;
  };
  /** A matrix [from, to] whose product with `from` values of mean square `meanSquare` has a variance of about 1. */
  const matrix = (name: string, from: number, to: number, meanSquare = 1) => {
    const scale = 1 / (Math.sqrt(from * meanSquare) * WEIGHT_DEVIATION);
    const scales = Float32Array.from({ length: to }, () => scale * (0.75 + 0.5 * random()));
    return {
      codes: codes(`${name}_s8`, [from, to], WEIGHT_LIMIT),
      scale: constant(`${name}_scale`, 'float', [to], scales),
      zero: constant(`${name}_zero`, 'int8', [to], new Int8Array(to)),
      bias: floats(`${name}_bias`, [to], 0.05),
    };
  };
  const linear = (name: string, input: Quantised, from: number, to: number, meanSquare?: number): string => {
    const [a, aScale, aZero] = input;
    const w = matrix(name, from, to, meanSquare);
    return add('MatMulIntegerToFloat', [a, w.codes, aScale, w.scale, aZero, w.zero, w.bias], name, microsoft);
  };
  const layerNorm = (name: string, input: string): string => {
    const gamma = constant(`${name}_gamma`, 'float', [hidden], new Float32Array(hidden).fill(1));
    const beta = floats(`${name}_beta`, [hidden], 0.05);
    const attributes = { epsilon: { float: 1e-12 } };
    return add('LayerNormalization', [input, gamma, beta], name, { attributes });
  };

  // Embeddings. The table's codes are scaled to a variance of about 1 before their sum with the positions.
  const zero = int64('zero', [], [0]);
  const one = int64('one', [], [1]);
  const first = int64('first', [1], [0]);
  const axis = int64('axis', [1], [0]);
  const tokens = add(
    'Unsqueeze',
    [add('Gather', [add('Shape', ['input_ids'], 'shape'), one], 'length'), axis],
    'tokens',
  );
  const places = int64(
    'places',
    [positions],
    Array.from({ length: positions }, (_, i) => i),
  );
  const place = add('Slice', [places, first, tokens, axis], 'place');
  const wordCodes = add('Gather', [codes('words_s8', [vocabulary, hidden], 127), 'input_ids'], 'word_s8');
  const rowScales = Float32Array.from({ length: vocabulary }, () => (0.75 + 0.5 * random()) / 73.6);
  const scales = constant('words_scale', 'float', [vocabulary, 1], rowScales);
  const wordScale = add('Gather', [scales, 'input_ids'], 'word_scale');
  const cast = add('Cast', [wordCodes], 'word_float', { attributes: { to: { int: 1 } } });
  const word = add('Mul', [cast, wordScale], 'word');
  const position = add('Gather', [floats('positions', [positions, hidden], 0.3), place], 'position');
  let state = layerNorm('embedded', add('Add', [word, position], 'embeddings'));
  const mask = add('Cast', ['attention_mask'], 'mask', { attributes: { to: { int: 6 } } });

  for (let layer = 0; layer < layers; layer++) {
    const name = (part: string) => `layer${layer}_${part}`;
    const last = layer === layers - 1;
    const [a, aScale, aZero] = quantise(state, -5, 5);
    const w = matrix(name('qkv'), hidden, 3 * hidden);
    let context = add(
      'QAttention',
      [a, w.codes, w.bias, aScale, w.scale, mask, aZero, w.zero],
      name('context'),
      {
        ...microsoft,
        attributes: {
          num_heads: { int: heads },
          mask_filter_value: { float: -3.4028234663852886e38 },
        },
      },
    );
    let skip = state;
    if (last) {
      const attributes = { axis: { int: 1 } };
      context = add('Gather', [context, zero], name('context_first'), { attributes });
      skip = add('Gather', [skip, zero], name('skip_first'), { attributes });
    }
    // Attention averages values of variance 1, so that its outputs are smaller the longer the text.
    const attended = linear(name('attended'), quantise(context, -4, 4), hidden, hidden, 0.3);
    // A Sum, not an Add: ONNX Runtime would fuse that one into SkipLayerNormalization, which is slower.
    const middle = layerNorm(name('attention_norm'), add('Sum', [attended, skip], name('attention_sum')));
    const wide = linear(name('wide'), quantise(middle, -5, 5), hidden, feedForward);
    const active = add('Gelu', [wide], name('gelu'), microsoft);
    const narrow = linear(name('narrow'), quantise(active, -0.2, 4.8), feedForward, hidden, GELU_MEAN_SQUARE);
    state = layerNorm(name('output'), add('Sum', [narrow, middle], name('output_sum')));
  }

  const head = (name: string, input: string, to: number): string =>
    add(
      'Gemm',
      [input, floats(`${name}_weight`, [hidden, to], hidden ** -0.5), floats(`${name}_bias`, [to], 0.05)],
      name,
    );
  head('logits', add('Relu', [head('pre_classifier', state, hidden)], 'relu'), labels);

  const dims = ['batch', 'sequence'];
  return {
    name: 'distilbert-sized',
    operators,
    weights,
    inputs: [
      { name: 'input_ids', type: 'int64', dims },
      { name: 'attention_mask', type: 'int64', dims },
    ],
    outputs: [{ name: 'logits', type: 'float', dims: ['batch', labels] }],
    operatorSets: { '': 17, 'com.microsoft': 1 },
  };
}

/** xorshift32: the same numbers on every machine, and better low bits than a linear congruential generator has. */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
