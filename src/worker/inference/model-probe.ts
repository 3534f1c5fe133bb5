/**
 * Probes a loaded model before its worker is ready: whether texts can be classified, how many tokens the graph reads, and whether
 * a text's score depends on the other texts of its batch. Chooses accordingly which rows may share a batch: any, when the graph
 * masks out padding, else rows of equal length.
 */
import path from 'node:path';
import type { ApplyFunction } from '../../shared/contract/options.ts';
import { PROBLEMS } from '../../shared/contract/problems.ts';
import type { RowResult } from '../../shared/contract/results.ts';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { embeddingRows, lastOperator } from '../../shared/onnx/graph.ts';
import { AMULET_JSON } from './amulet-json.ts';
import type { BatcherOptions } from './batcher.ts';
import { equalLengthRows, measureDependence, mixedLengthRows, type Dependence } from './batch-dependence.ts';
import type { Classifier } from './classifier.ts';
import { EngineStopped, ModelCrashed } from './engine.ts';
import type { EnginePool } from './engine-pool.ts';
import type { ModelFolder } from './model-folder.ts';
import { toScores } from './scores.ts';
import { findTokenLimit, type TokenLimit } from './token-limit.ts';
import { TextTokenizer, type ModelInput } from './tokenizer.ts';
import type { VocabularyRange } from './vocabulary.ts';

/** Which rows may share a batch: any, those with the same number of tokens, or none. */
export type Batching = 'mixed' | 'equal_lengths' | 'row_by_row';

export interface ModelProbe extends Omit<TokenLimit, 'warning'> {
  /** Truncates texts to maxTokens. */
  tokenizer: TextTokenizer;
  batching: Batching;
  /** Largest difference between a score of a text run alone and in a batch; 0: none. */
  batchDependence: number;
  /** The function that the graph itself applies; it is not applied a second time. */
  applied: 'softmax' | 'sigmoid' | undefined;
  /** How outputs become scores when a request does not say. */
  apply: ApplyFunction;
  /** Warnings for the owner of the model, one line each. */
  warnings: string[];
}

export interface ProbeOptions {
  model: ModelFolder;
  /** With the limit of the model folder. */
  tokenizer: TextTokenizer;
  /** Called with the time that each text took, in case the tokenizer is replaced. */
  observe?: (ms: number) => void;
  engines: EnginePool;
  /** The function that config.json asks for. */
  apply: ApplyFunction;
  /** `strict`: a model whose scores depend on the batch runs row by row. */
  invariance: 'measured' | 'strict';
}

/** Short and long texts, not all in one script. */
const PROBE_TEXTS = [
  'I love this.',
  'No.',
  'What a waste of time, and of 100 % of the money: I would not see it again!',
  'Когда начинается концерт? 图书馆在哪里？ 😀',
  'The first half is slow and the actors seem to be bored, but then the music, the light and the story come together ' +
    'in a way that nobody expected, and in the end the whole room stood up and applauded for minutes.',
];

/** Differences up to this one come from rounding floats in another order. */
const ROUNDING = 1e-4;
/** A larger difference of a score breaks the promise that scores do not depend on the batch… */
const MAX_DIFFERENCE = 1e-3;
/** …unless it is that of activations in 8 or 16 bits, of which one falls to the next step now and then. */
const MAX_COARSE_DIFFERENCE = 1e-2;
/** The same for logits, relative to the largest of them: scores near 0 and 1 show no difference. */
const MAX_LOGIT_DIFFERENCE = 1e-2;
/** Tolerance for the sum and the bounds of probabilities. */
const PROBABILITY_ERROR = 1e-3;

/**
 * Probes a loaded model. Sets the padding of `engines`.
 * @throws StartupError with a message of one line when the model cannot be served
 */
export async function probeModel(options: ProbeOptions): Promise<ModelProbe> {
  const { model, engines } = options;
  const { vocabulary } = options.tokenizer;
  const warnings: string[] = [];
  const rows = model.graph && embeddingRows(model.graph, 'input_ids');
  if (rows !== undefined) warnings.push(...(await missingEmbeddings(engines, vocabulary, rows)));
  // One row per batch, so the padding need not be known yet.
  const [first] = encodeAll(options.tokenizer);
  if (!first) throw new StartupError('the tokenizer produces no tokens for any text');
  const ids = first.row.ids.subarray(0, engines.graph?.fixed?.tokens);
  await runText(engines, first.text, { ids, typeIds: undefined });
  const limit = await findTokenLimit(engines, model, ids, options.tokenizer.padId);
  if (limit.warning !== undefined) warnings.push(limit.warning);
  if (rows === undefined) warnings.push(...(await missingEmbeddings(engines, vocabulary, rows)));
  const tokenizer =
    limit.maxTokens < model.maxTokens
      ? new TextTokenizer(model.folder, limit.maxTokens, {
          languages: model.amulet.languages,
          observe: options.observe,
        })
      : options.tokenizer;
  const texts = encodeAll(tokenizer);
  const logits = await Promise.all(texts.map(({ text, row }) => runText(engines, text, row)));
  const padding = await choosePadding(options);
  engines.padding = padding;
  const applied = appliedByGraph(model, engines, logits);
  const apply = applied === undefined ? options.apply : 'none';
  const mixedRows = mixedLengthRows(
    texts.map(({ row }) => row),
    {
      ids: Math.min(rows ?? Infinity, vocabulary.largest + 1),
      padId: padding.id,
      maxTokens: limit.maxTokens,
    },
  );
  if (applied !== undefined && model.amulet.temperature !== undefined) {
    throw new StartupError(
      `${path.join(model.folder, AMULET_JSON)} cannot be used: temperature needs logits, but the graph applies ${applied} itself`,
    );
  }
  const batching = await chooseBatching(options, mixedRows, apply);
  const { maxTokens, triedTokens } = limit;
  return { maxTokens, triedTokens, tokenizer, ...batching, applied, apply, warnings };
}

/** The options of the batcher that depend on the model. @param budget padded tokens of the largest batches */
export function batcherOptions(
  { batching }: Pick<ModelProbe, 'batching'>,
  engines: EnginePool,
  budget: number,
): Pick<BatcherOptions<never, never>, 'equalLengths' | 'maxRows'> {
  if (batching === 'row_by_row') return { maxRows: 1 };
  // With a fixed row length in the graph, every row costs that many tokens.
  const tokens = engines.graph?.fixed?.tokens;
  return {
    equalLengths: batching === 'equal_lengths',
    ...(tokens !== undefined && { maxRows: Math.max(1, Math.floor(budget / tokens)) }),
  };
}

/**
 * Classifies a text as one of a job, and another as one of a batch.
 * @throws StartupError when it fails
 */
export async function classifyFirstText(classifier: Classifier): Promise<void> {
  // Two, because the second of two equal texts would not run.
  const [first = '', second = ''] = PROBE_TEXTS;
  const { signal } = new AbortController();
  const results: [string, RowResult][] = [
    [first, await classifier.classify({ text: first }, { top_k: null }, 'interactive', signal)],
  ];
  for (const result of await classifier.classifyEach([second], { top_k: null }, signal, () => {}))
    results.push([second, result]);
  for (const [text, result] of results) {
    if ('error' in result && result.error.code !== 'unreadable_text')
      throw new StartupError(`${JSON.stringify(text)} cannot be classified: ${result.error.message}`);
  }
}

function encodeAll(tokenizer: TextTokenizer): { text: string; row: ModelInput }[] {
  return PROBE_TEXTS.flatMap((text) => {
    try {
      const row = tokenizer.encodeNow(text);
      // A tokenizer may drop a whole text in a script that it does not know.
      return row.ids.length > 0 ? [{ text, row }] : [];
    } catch (error) {
      throw new StartupError(`the tokenizer fails on ${JSON.stringify(text)}: ${toError(error).message}`, {
        cause: error,
      });
    }
  });
}

async function runText(engines: EnginePool, text: string, row: ModelInput): Promise<Float32Array> {
  try {
    const [logits] = await engines.run([row], { silent: true });
    if (!logits?.every(Number.isFinite)) throw new Error('the model returned a score that is not a number');
    return logits;
  } catch (error) {
    if (error instanceof EngineStopped) throw error;
    const reason = error instanceof ModelCrashed ? PROBLEMS.poison_input.title : toError(error).message;
    throw new StartupError(`${JSON.stringify(text)} cannot be classified: ${reason}`, { cause: error });
  }
}

/** The padding of the tokenizer, with id 0 where the graph has no embedding for the tokenizer's id. */
async function choosePadding({ engines, tokenizer, model }: ProbeOptions) {
  const side = tokenizer.paddingSide;
  const id = tokenizer.padId ?? model.padTokenId ?? 0;
  return {
    id: (await runs(engines, [{ ids: new Int32Array(3).fill(id), typeIds: undefined }])) ? id : 0,
    side,
  };
}

/** Whether a batch succeeds. @throws StartupError when the model crashes on it */
async function runs(engines: EnginePool, rows: ModelInput[]): Promise<boolean> {
  try {
    await engines.run(rows, { silent: true });
    return true;
  } catch (error) {
    if (error instanceof EngineStopped) throw error;
    if (error instanceof ModelCrashed)
      throw new StartupError(`the model crashes on synthetic tokens: ${error.message}`);
    return false;
  }
}

/** Looks for tokens without an embedding in the graph. @returns warnings @throws StartupError when any text may contain one */
async function missingEmbeddings(
  engines: EnginePool,
  vocabulary: VocabularyRange,
  rows: number | undefined,
): Promise<string[]> {
  if (vocabulary.largest < 0) return [];
  const has = (id: number) =>
    rows === undefined ? runs(engines, [{ ids: Int32Array.of(id), typeIds: undefined }]) : id < rows;
  if (!(await has(vocabulary.largest))) {
    const embeddings =
      rows === undefined ? 'the graph has no embedding for the largest' : `the graph has ${rows} embeddings`;
    throw new StartupError(
      `tokenizer.json has token ids up to ${vocabulary.largest}, but ${embeddings}: is it the tokenizer of another model?`,
    );
  }
  const largestAdded = Math.max(-1, ...vocabulary.added.keys());
  if (largestAdded <= vocabulary.largest || (await has(largestAdded))) return [];
  const without: string[] = [];
  for (const [id, token] of vocabulary.added)
    if (id > vocabulary.largest && !(await has(id))) without.push(JSON.stringify(token));
  const named = without.slice(0, 5).join(', ') + (without.length > 5 ? ', …' : '');
  return [
    `the graph has no embedding for the added ${without.length === 1 ? 'token' : 'tokens'} ${named}: a text that contains one fails`,
  ];
}

/** The function that the graph ends in, if its outputs agree. */
function appliedByGraph(
  { graph }: ModelFolder,
  engines: EnginePool,
  outputs: readonly Float32Array[],
): ModelProbe['applied'] {
  const name = engines.graph?.output.name ?? '';
  const last = graph ? (lastOperator(graph, name) ?? '') : '';
  const bounded = outputs.every((row) =>
    row.every((value) => value >= -PROBABILITY_ERROR && value <= 1 + PROBABILITY_ERROR),
  );
  if (!bounded) return undefined;
  const sumsToOne = outputs.every(
    (row) => row.length > 1 && Math.abs(row.reduce((sum, value) => sum + value, 0) - 1) < PROBABILITY_ERROR,
  );
  // Whatever the last operator is called: logits of several texts do not all add up to 1, so these are probabilities.
  if (sumsToOne) return 'softmax';
  return /sigmoid/i.test(last) ? 'sigmoid' : undefined;
}

async function chooseBatching(
  { model, engines, invariance }: ProbeOptions,
  rows: readonly ModelInput[],
  apply: ApplyFunction,
): Promise<Pick<ModelProbe, 'batching' | 'batchDependence'>> {
  const fixed = engines.graph?.fixed;
  if (fixed?.rows === 1) return { batching: 'row_by_row', batchDependence: 0 };
  const scores = (logits: Float32Array) => toScores(logits, apply, model.amulet.temperature);
  const measure = (some: readonly ModelInput[]) => measureDependence(engines, some, scores);
  const holds = ({ score, logit }: Dependence) => score <= MAX_DIFFERENCE && logit <= MAX_LOGIT_DIFFERENCE;
  const dynamic = [...(model.graph?.operators ?? [])].some((operator) =>
    operator.startsWith('DynamicQuantize'),
  );
  const masked =
    fixed?.tokens !== undefined || engines.graph?.inputs.some(({ name }) => name === 'attention_mask');

  // Without an attention mask, padding counts as text.
  const mixed = masked ? await measure(rows) : undefined;
  let batching: Batching = 'mixed';
  let found = mixed;
  if (!mixed || !holds(mixed)) {
    const equal = await measure(equalLengthRows(rows));
    const padding = !mixed || holds(equal) || mixed.score > Math.max(0.05, 3 * equal.score);
    if (padding) [batching, found] = ['equal_lengths', equal];
    if (!holds(equal) && !dynamic && equal.score > MAX_COARSE_DIFFERENCE) {
      if (invariance === 'strict') return { batching: 'row_by_row', batchDependence: 0 };
      throw new StartupError(
        `scores depend on the other texts of a batch, by up to ${equal.score.toFixed(3)}, even when all have the same length: ` +
          'set BATCH_INVARIANCE=strict to run this model one text at a time',
      );
    }
  }
  const score = found?.score ?? 0;
  if (!dynamic && score <= ROUNDING) return { batching, batchDependence: 0 };
  if (invariance === 'strict') return { batching: 'row_by_row', batchDependence: 0 };
  // Never 0 with dynamic quantisation: other texts may differ although these did not.
  return { batching, batchDependence: Number(Math.max(score, 1e-6).toPrecision(3)) };
}
