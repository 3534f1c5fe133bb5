/** The answer about a text: what its logits become under the options of its request. Pure. */
import type { AnswerOptions, ApplyFunction, Threshold } from '../../shared/contract/options.ts';
import type { LabelScore } from '../../shared/contract/results.ts';
import { indexOfBest, labelScore, rankLabels, toScores } from './scores.ts';

/** How a model answers. */
export interface Answering {
  labels: readonly string[];
  /** How logits become scores when the request does not say. */
  apply: ApplyFunction;
  /** The function that the graph itself applies: requests for it get the outputs as they are. */
  applied?: ApplyFunction | undefined;
  /** Logits are divided by it before softmax or sigmoid. */
  temperature?: number | undefined;
  /** The model's own thresholds, by label. */
  thresholds?: Readonly<Record<string, number>> | undefined;
}

export interface Answer extends LabelScore {
  /** Left out when the best label alone was asked for. */
  labels?: LabelScore[];
}

/** @returns the best label, and those that were asked for; undefined when a score is not a number */
export function answerOf(logits: Float32Array, model: Answering, options: AnswerOptions): Answer | undefined {
  const wanted = options.apply ?? model.apply;
  const scores = toScores(logits, wanted === model.applied ? 'none' : wanted, model.temperature);
  const { top_k: topK, threshold } = options;
  if (threshold !== undefined) return answerAbove(scores, model, leastScores(threshold, model), topK);
  const ranked = rankLabels(scores, model.labels, topK);
  const best = ranked[0];
  if (!best || !ranked.every(({ score }) => Number.isFinite(score))) return undefined;
  return topK === 1 ? best : { ...best, labels: ranked };
}

/** The labels that reach their threshold, and of these the best `topK`. */
function answerAbove(
  scores: number[],
  { labels }: Answering,
  leastOf: (label: string) => number,
  topK: number | null,
): Answer | undefined {
  if (scores.length === 0 || !scores.every(Number.isFinite)) return undefined;
  const reached: LabelScore[] = [];
  for (let i = 0; i < scores.length; i++) {
    const entry = labelScore(labels, scores, i);
    if (entry.score >= leastOf(entry.label)) reached.push(entry);
  }
  reached.sort((a, b) => b.score - a.score);
  const best = labelScore(labels, scores, indexOfBest(scores));
  return { ...best, labels: topK === null ? reached : reached.slice(0, topK) };
}

/** The least score at which a label is chosen. One that the thresholds do not name is never chosen. */
function leastScores(threshold: Threshold, { thresholds }: Answering): (label: string) => number {
  if (typeof threshold === 'number') return () => threshold;
  const byLabel = threshold === 'model' ? (thresholds ?? {}) : threshold;
  return (label) => (Object.hasOwn(byLabel, label) ? (byLabel[label] as number) : Infinity);
}
