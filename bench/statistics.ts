/** Percentiles, medians and their intervals. */

/** The `p`-th percentile (0 to 100) of some values, by the nearest rank. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((p / 100) * sorted.length) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * A 95 % interval for the median, by order statistics: no assumption about the shape of the noise. With 7 values it is
 * their whole range (98 %), with 12 it omits two on each side.
 */
export function medianInterval(values: readonly number[]): [low: number, high: number] {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  // Largest k with P(Binomial(n, ½) < k) ≤ 2.5 %: the interval from the k-th to the (n + 1 − k)-th value.
  let k = 0;
  let below = 0;
  let term = 0.5 ** n;
  while (below + term <= 0.025 && k < n / 2) {
    below += term;
    k++;
    term = (term * (n - k + 1)) / k;
  }
  const cut = Math.max(0, k - 1);
  return [sorted[cut]!, sorted[n - 1 - cut]!];
}

export const round = (value: number, digits = 2): number => Number(value.toFixed(digits));

/** `0.83 [0.80, 0.85]` */
export function withInterval(values: readonly number[]): string {
  const [low, high] = medianInterval(values);
  return `${median(values).toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
}
