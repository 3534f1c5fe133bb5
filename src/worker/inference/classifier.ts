/**
 * One text → one result: tokenise, batch, score. Everything about a text that can go wrong ends here as an errored row;
 * what is thrown is about the worker, not the text.
 */
import { PROBLEMS } from '../../shared/contract/problems.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import type { ApplyFunction, JobPayload } from '../../shared/contract/jobs.ts';
import type { RowError, RowResult } from '../../shared/contract/results.ts';
import type { AmuletJson } from './amulet-json.ts';
import { RowDropped, type Batcher, type Lane } from './batcher.ts';
import { EngineStopped, ModelCrashed } from './engine.ts';
import { unknownShare, unreadableReason } from './readability.ts';
import { rankLabels, toScores } from './scores.ts';
import type { EncodedText, TextTokenizer, TruncationSide } from './tokenizer.ts';

/** A text in the batcher. */
export interface TextRow {
  readonly tokens: number;
  readonly encoded: EncodedText;
  /** Rows with the same key have the same token ids. */
  readonly key: string;
}

/** Lets a batch run each of its different texts once: archives and forms are full of repeats. */
export function oncePerText(
  run: (rows: EncodedText[], lane: Lane) => Promise<Float32Array[]>,
): (rows: TextRow[], lane: Lane) => Promise<Float32Array[]> {
  return async (rows, lane) => {
    const places = new Map<string, number>();
    const unique: EncodedText[] = [];
    for (const { key, encoded } of rows) {
      if (places.has(key)) continue;
      places.set(key, unique.length);
      unique.push(encoded);
    }
    const results = await run(unique, lane);
    // A missing result stays missing: the batcher counts them.
    return rows.flatMap(({ key }) => results[places.get(key) ?? -1] ?? []);
  };
}

export interface ClassifierParts {
  tokenizer: TextTokenizer;
  batcher: Batcher<TextRow, Float32Array>;
  labels: readonly string[];
  /** How logits become scores when the job does not say. */
  apply: ApplyFunction;
  /** The function that the graph has applied already: what asks for it gets the outputs as they are. */
  applied?: ApplyFunction | undefined;
  /** Most tokens of one text. */
  maxTokens: number;
  /** What becomes of texts of which the model knows no token; an error by default. */
  unreadable?: AmuletJson['unreadable_text'];
}

export type JobText = JobPayload['texts'][number];
type JobOptions = Pick<JobPayload, 'top_k' | 'apply' | 'truncate'>;

export class Classifier {
  readonly #parts: ClassifierParts;

  constructor(parts: ClassifierParts) {
    this.#parts = parts;
  }

  /** Labels of the model. */
  get labelCount(): number {
    return this.#parts.labels.length;
  }

  /**
   * One text of a job.
   * @param onBatch told how many rows the batch had that it travelled in
   * @throws RowDropped when `signal` fired first; EngineStopped when this worker cannot go on
   */
  async classify(
    text: JobText,
    options: JobOptions,
    lane: Lane,
    signal: AbortSignal,
    onBatch?: (rows: number) => void,
  ): Promise<RowResult> {
    const { tokenizer, batcher } = this.#parts;
    const id = text.id === undefined ? {} : { id: text.id };
    try {
      // A request that names a side means it; otherwise the tokenizer's own.
      const side =
        options.truncate === 'left' || options.truncate === 'right'
          ? options.truncate
          : tokenizer.truncationSide;
      const encoded = await tokenizer.encode(text.text, side);
      if (encoded.truncated && options.truncate === 'never') {
        const { maxTokens } = this.#parts;
        return {
          ...id,
          error: rowError('text_too_long', `the model reads at most ${maxTokens} tokens of a text`),
        };
      }
      const unreadable = this.#unreadable(text.text, encoded);
      if (unreadable) return { ...id, error: unreadable };
      const row = toRow(text.text, side, encoded);
      const { result: logits, batchRows } = await batcher.submit(row, lane, signal);
      onBatch?.(batchRows);
      return { ...id, ...this.#outcome(logits, encoded, options) };
    } catch (error) {
      return { ...id, error: failureOf(error) };
    }
  }

  /** As classifyEach, all of them at once. */
  async classifyAll(...parameters: Parameters<Classifier['classifyEach']>): Promise<RowResult[]> {
    return [...(await this.classifyEach(...parameters))];
  }

  /**
   * The texts of a chunk, in the bulk lane.
   * @param onSettled called for every text whose result is there
   * @returns in the order of the texts; a result is made when it is asked for: with a thousand labels each is large, and
   *   those of a batch take long enough together to hold up the event loop
   * @throws as classify, as soon as one of them does
   */
  async classifyEach(
    texts: readonly string[],
    options: JobOptions,
    signal: AbortSignal,
    onSettled: () => void,
  ): Promise<Iterable<RowResult>> {
    const { tokenizer, batcher } = this.#parts;
    const results = new Array<RowResult | (() => RowResult)>(texts.length);
    const side = tokenizer.truncationSide;
    const encoded = await Promise.all(
      texts.map(async (text, index) => {
        try {
          const row = toRow(text, side, await tokenizer.encodeInBackground(text, side));
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
    const rows = encoded.filter((entry) => entry !== undefined);
    if (rows.length === 0) return eachOf(results);
    // By length, so that neighbours in the lane are company for each other.
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

  /** The error of a text that the model cannot read, unless its folder wants labels all the same. */
  #unreadable(text: string, encoded: EncodedText): RowError | undefined {
    if (this.#parts.unreadable === 'classify') return undefined;
    const reason = unreadableReason(text, encoded);
    return reason === undefined ? undefined : rowError('unreadable_text', reason);
  }

  #outcome(logits: Float32Array, encoded: EncodedText, options: JobOptions): RowResult {
    const { labels, apply, applied } = this.#parts;
    const wanted = options.apply ?? apply;
    const unknown = unknownShare(encoded);
    const ranked = rankLabels(toScores(logits, wanted === applied ? 'none' : wanted), labels, options.top_k);
    const best = ranked[0];
    if (!best || !ranked.every(({ score }) => Number.isFinite(score))) {
      return { error: rowError('inference_failed', 'the model gave a score that is not a number') };
    }
    return {
      label: best.label,
      score: best.score,
      ...(options.top_k === 1 ? {} : { labels: ranked }),
      truncated: encoded.truncated,
      ...(unknown === 0 ? {} : { unknown }),
    };
  }
}

function* eachOf(results: readonly (RowResult | (() => RowResult))[]): Generator<RowResult> {
  for (const result of results) yield typeof result === 'function' ? result() : result;
}

function toRow(text: string, side: TruncationSide, encoded: EncodedText): TextRow {
  return { tokens: encoded.ids.length, encoded, key: `${side}:${text}` };
}

/**
 * What went wrong with one text.
 * @throws what is about the worker and not the text
 */
function failureOf(error: unknown): RowError {
  if (error instanceof RowDropped || error instanceof EngineStopped) throw error;
  if (error instanceof ModelCrashed) return rowError('poison_input', PROBLEMS.poison_input.title);
  return rowError('inference_failed', toError(error).message);
}

function rowError(code: RowError['code'], message: string): RowError {
  return { code, message };
}
