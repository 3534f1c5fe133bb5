/** Turns logits into scores, and scores into ranked labels. Pure. */
import type { ApplyFunction } from '../../shared/contract/options.ts';
import type { LabelScore } from '../../shared/contract/results.ts';

/** softmax(x)_i = e^(x_i − max x) / Σ_j e^(x_j − max x); the shift keeps the exponentials from overflowing. */
function softmax(logits: Float32Array): number[] {
  let max = -Infinity;
  for (const logit of logits) max = logit <= max ? max : logit;
  const scores: number[] = [];
  let sum = 0;
  for (const logit of logits) {
    const exponential = Math.exp(logit - max);
    sum += exponential;
    scores.push(exponential);
  }
  for (let i = 0; i < scores.length; i++) scores[i] = (scores[i] ?? 0) / sum;
  return scores;
}

const sigmoid = (logit: number): number => 1 / (1 + Math.exp(-logit));

/**
 * The scores of one row.
 * @param logits shape [labels]
 * @param temperature what logits are divided by before softmax or sigmoid; undefined: 1
 * @returns shape [labels], in label order
 */
export function toScores(logits: Float32Array, apply: ApplyFunction, temperature?: number): number[] {
  if (apply === 'none') return Array.from(logits);
  const scaled = temperature === undefined ? logits : logits.map((logit) => logit / temperature);
  return apply === 'softmax' ? softmax(scaled) : Array.from(scaled, sigmoid);
}

/** The `topK` best labels, best first; all of them when `topK` is null. Equal scores keep label order. */
export function rankLabels(scores: number[], labels: readonly string[], topK: number | null): LabelScore[] {
  // The default: asking for one of thousands of labels must not sort them all.
  if (topK === 1) return scores.length === 0 ? [] : [labelScore(labels, scores, indexOfBest(scores))];
  const ranked = scores.map((_, i) => labelScore(labels, scores, i)).sort((a, b) => b.score - a.score);
  return topK === null ? ranked : ranked.slice(0, topK);
}

export function labelScore(labels: readonly string[], scores: readonly number[], i: number): LabelScore {
  return { label: labels[i] ?? `LABEL_${i}`, score: scores[i] ?? Number.NaN };
}

/** Index of the greatest score, or of a NaN if there is one, so that it is noticed. */
export function indexOfBest(scores: readonly number[]): number {
  let best = 0;
  let greatest = -Infinity;
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] ?? Number.NaN;
    if (score <= greatest) continue;
    if (Number.isNaN(score)) return i;
    [best, greatest] = [i, score];
  }
  return best;
}
