/** The colours of labels: those of a sentiment model go from negative to positive, all others have one colour. */

export type Tone = 'negative' | 'neutral' | 'positive';

/**
 * The tone that each label names, as sentiment models do: `NEGATIVE`, `neutral`, `Positive`. None of them unless the labels are a
 * scale of these, with both ends: `neutral` is also one of 28 emotions.
 */
export function tonesOf(labels: readonly string[]): (Tone | undefined)[] {
  const tones = labels.map(toneOf);
  const isScale = tones.includes('negative') && tones.includes('positive') && !tones.includes(undefined);
  return isScale ? tones : labels.map(() => undefined);
}

function toneOf(label: string): Tone | undefined {
  const tone = label.toLowerCase();
  return tone === 'negative' || tone === 'neutral' || tone === 'positive' ? tone : undefined;
}
