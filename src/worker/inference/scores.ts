/** Logits → scores → labels. Pure. */
import type { ApplyFunction, LabelScore } from '../../shared/contract.ts';

/** softmax(x)_i = e^(x_i − max x) / Σ_j e^(x_j − max x); the shift keeps the exponentials from overflowing. */
function softmax(logits: Float32Array): number[] {
  const max = logits.reduce((largest, logit) => Math.max(largest, logit), -Infinity);
  const exponentials = Array.from(logits, (logit) => Math.exp(logit - max));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return exponentials.map((value) => value / sum);
}

const sigmoid = (logit: number): number => 1 / (1 + Math.exp(-logit));

/**
 * The scores of one row.
 * @param logits shape [labels]
 * @returns shape [labels], in label order
 */
export function toScores(logits: Float32Array, apply: ApplyFunction): number[] {
  if (apply === 'softmax') return softmax(logits);
  if (apply === 'sigmoid') return Array.from(logits, sigmoid);
  return Array.from(logits);
}

/** The `topK` best labels, best first; all of them when `topK` is null. Equal scores keep label order. */
export function rankLabels(scores: number[], labels: readonly string[], topK: number | null): LabelScore[] {
  const ranked = scores
    .map((score, i) => ({ label: labels[i] ?? `LABEL_${i}`, score }))
    .sort((a, b) => b.score - a.score);
  return topK === null ? ranked : ranked.slice(0, topK);
}
