/** The labels of a text as bars, best first. */
import type { LabelScore } from '../../../shared/contract/results.ts';
import { create } from './dom.ts';
import { score } from './format.ts';
import { tonesOf, type Tone } from './tones.ts';

/** Labels shown at once; a model may have hundreds. */
const SHOWN = 6;

/** @param labels best first */
export function showLabels(where: HTMLElement, labels: readonly LabelScore[]): void {
  // The scores of a regression are not probabilities.
  const shares = labels.every((each) => each.score >= 0 && each.score <= 1);
  const tones = tonesOf(labels.map(({ label }) => label));
  const bars = labels.map((label, i) => bar(label, { shares, tone: tones[i] }));
  const rest = bars.slice(SHOWN);
  where.replaceChildren(list(bars.slice(0, SHOWN)));
  if (rest.length === 0) return;
  where.append(create('details', {}, create('summary', { text: `${rest.length} more labels` }), list(rest)));
}

const list = (items: HTMLLIElement[]) => create('ul', { class: 'bars' }, ...items);

interface BarOptions {
  /** The scores are probabilities. */
  shares: boolean;
  tone: Tone | undefined;
}

function bar({ label, score: value }: LabelScore, { shares, tone }: BarOptions): HTMLLIElement {
  const fill = create('span', { class: 'fill', ...(tone && { attributes: { 'data-tone': tone } }) });
  fill.style.inlineSize = `${Math.min(Math.max(value, 0), 1) * 100}%`;
  return create(
    'li',
    {},
    create('span', { class: 'label', text: label }),
    create('span', { class: 'score', text: score(value, shares) }),
    create('span', { class: 'track', attributes: { 'aria-hidden': 'true' } }, fill),
  );
}
