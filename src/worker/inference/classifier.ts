/**
 * Classifies texts: tokenizes each, runs it in a batch, and ranks its labels. Everything that can go wrong with a text becomes
 * the error of its row; a thrown error is about the worker.
 */
import { PROBLEMS } from '../../shared/contract/problems.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { JobPayload } from '../../shared/contract/jobs.ts';
import type { AnsweringModel, AnswerOptions } from '../../shared/contract/options.ts';
import type { RowError, RowResult } from '../../shared/contract/results.ts';
import type { AmuletJson } from './amulet-json.ts';
import { answerOf, type Answering } from './answer.ts';
import { RowDropped, type Batcher, type DropSignal, type Lane } from './batcher.ts';
import { EngineStopped, ModelCrashed } from './engine.ts';
import { unknownShare, unreadableReason } from './readability.ts';
import { keyOf, type ResultCache } from './result-cache.ts';
import type { EncodedText, TextTokenizer } from './tokenizer.ts';

/** A text in the batcher. */
export interface TextRow {
  readonly tokens: number;
  readonly encoded: EncodedText;
  /** Rows with the same key have the same tokens; undefined: each row runs on its own. */
  readonly key: string | undefined;
}

export interface ClassifierDeps extends Answering {
  tokenizer: TextTokenizer;
  batcher: Batcher<TextRow, Float32Array>;
  /** Most tokens of one text. */
  maxTokens: number;
  /** Results of texts that ran; undefined: every text runs, however often it is repeated. */
  results?: ResultCache | undefined;
  /** Treatment of texts that the model cannot read: an error by default. */
  unreadable?: AmuletJson['unreadable_text'];
}

export type JobText = JobPayload['texts'][number];
type JobOptions = AnswerOptions & Pick<JobPayload, 'truncate'>;

export class Classifier {
  readonly #deps: ClassifierDeps;

  constructor(deps: ClassifierDeps) {
    this.#deps = deps;
  }

  /** Number of labels of the model. */
  get labelCount(): number {
    return this.#deps.labels.length;
  }

  /** What the model says about its answers. */
  get model(): AnsweringModel {
    const { labels, apply, applied, thresholds } = this.#deps;
    return { labels, function_to_apply: applied ?? apply, thresholds };
  }

  /**
   * One text of a job.
   * @param onBatch called with the number of rows of its batch
   * @throws RowDropped when `signal` fired first; EngineStopped when this worker cannot continue
   */
  async classify(
    text: JobText,
    options: JobOptions,
    lane: Lane,
    signal: DropSignal,
    onBatch?: (rows: number) => void,
  ): Promise<RowResult> {
    const { tokenizer, batcher } = this.#deps;
    const id = text.id === undefined ? {} : { id: text.id };
    try {
      // The side that the request names, else the tokenizer's own.
      const side =
        options.truncate === 'left' || options.truncate === 'right'
          ? options.truncate
          : tokenizer.truncationSide;
      const encoded = await tokenizer.encode(text.text, side);
      if (encoded.truncated && options.truncate === 'never') {
        const { maxTokens } = this.#deps;
        return {
          ...id,
          error: { code: 'text_too_long', message: `the model reads at most ${maxTokens} tokens of a text` },
        };
      }
      const unreadable = this.#unreadable(text.text, encoded);
      if (unreadable) return { ...id, error: unreadable };
      const row = this.#toRow(encoded);
      const known = this.#known(row, signal);
      if (known) return { ...id, ...this.#outcome(known, encoded, options) };
      const { result: logits, batchRows } = await batcher.submit(row, lane, signal);
      onBatch?.(batchRows);
      return { ...id, ...this.#outcome(logits, encoded, options) };
    } catch (error) {
      return { ...id, error: failureOf(error) };
    }
  }

  /**
   * The texts of a chunk, in the bulk lane.
   * @param onSettled called for every text that has a result
   * @returns the results in the order of the texts. Each is made when it is read: with a thousand labels a result is large, and
   *   making all those of a chunk at once would block the event loop
   * @throws as classify, as soon as one text does
   */
  async classifyEach(
    texts: readonly string[],
    options: JobOptions,
    signal: DropSignal,
    onSettled: () => void,
  ): Promise<Iterable<RowResult>> {
    const { tokenizer, batcher } = this.#deps;
    const results = new Array<RowResult | (() => RowResult)>(texts.length);
    const side = tokenizer.truncationSide;
    const encoded = await Promise.all(
      texts.map(async (text, index) => {
        try {
          const row = this.#toRow(await tokenizer.encodeInBackground(text, side));
          const unreadable = this.#unreadable(text, row.encoded);
          if (!unreadable) return { index, row };
          results[index] = { error: unreadable };
          return undefined;
        } catch (error) {
          results[index] = { error: failureOf(error) };
          return undefined;
        }
      }),
    );
    const readable = encoded.filter((entry) => entry !== undefined);
    const rows = readable.filter(({ index, row }) => {
      const known = this.#known(row, signal);
      if (!known) return true;
      results[index] = () => this.#outcome(known, row.encoded, options);
      onSettled();
      return false;
    });
    if (rows.length === 0) return eachOf(results);
    // By length, so that neighbours in the lane can share a batch.
    rows.sort((a, b) => a.row.tokens - b.row.tokens);
    await new Promise<void>((resolve, reject) => {
      let left = rows.length;
      const settle = (at: number, result: (encoded: EncodedText) => RowResult | (() => RowResult)) => {
        try {
          const { index, row } = rows[at] as (typeof rows)[number];
          results[index] = result(row.encoded);
        } catch (error) {
          reject(toError(error));
        }
        if (--left === 0) resolve();
        onSettled();
      };
      batcher.submitAll(
        rows.map(({ row }) => row),
        'bulk',
        {
          settled: (at, { result: logits }) =>
            settle(at, (encoded) => () => this.#outcome(logits, encoded, options)),
          failed: (at, error) => settle(at, () => ({ error: failureOf(error) })),
        },
        signal,
      );
    });
    return eachOf(results);
  }

  #toRow(encoded: EncodedText): TextRow {
    return { tokens: encoded.ids.length, encoded, key: this.#deps.results && keyOf(encoded) };
  }

  /** The logits of a row that ran before; undefined for a row that the signal drops. */
  #known({ encoded }: TextRow, signal: DropSignal): Float32Array | undefined {
    return signal.aborted ? undefined : this.#deps.results?.get(encoded);
  }

  /** The error of a text that the model cannot read, unless amulet.json asks for labels all the same. */
  #unreadable(text: string, encoded: EncodedText): RowError | undefined {
    if (this.#deps.unreadable === 'classify') return undefined;
    const reason = unreadableReason(text, encoded);
    return reason === undefined ? undefined : { code: 'unreadable_text', message: reason };
  }

  #outcome(logits: Float32Array, encoded: EncodedText, options: JobOptions): RowResult {
    const answer = answerOf(logits, this.#deps, options);
    if (!answer) {
      return {
        error: { code: 'inference_failed', message: 'the model returned a score that is not a number' },
      };
    }
    const unknown = unknownShare(encoded);
    return {
      ...answer,
      truncated: encoded.truncated,
      ...(unknown === 0 ? {} : { unknown }),
    };
  }
}

function* eachOf(results: readonly (RowResult | (() => RowResult))[]): Generator<RowResult> {
  for (const result of results) yield typeof result === 'function' ? result() : result;
}

/**
 * The error of one text.
 * @throws errors that are about the worker, not the text
 */
function failureOf(error: unknown): RowError {
  if (error instanceof RowDropped || error instanceof EngineStopped) throw error;
  if (error instanceof ModelCrashed) return { code: 'poison_input', message: PROBLEMS.poison_input.title };
  return { code: 'inference_failed', message: toError(error).message };
}
