/** The labels of a text as bars, best first. */
import type { LabelScore } from '../../../shared/contract/results.ts';
import { create } from './dom.ts';
import { score } from './format.ts';

/** Labels shown at once; a model may have hundreds. */
const SHOWN = 6;

/** @param labels best first */
export function showLabels(where: HTMLElement, labels: readonly LabelScore[]): void {
  // The scores of a regression are not probabilities.
  const shares = labels.every((each) => each.score >= 0 && each.score <= 1);
  const bars = labels.map((label) => bar(label, shares));
  const rest = bars.slice(SHOWN);
  where.replaceChildren(list(bars.slice(0, SHOWN)));
  if (rest.length === 0) return;
  where.append(create('details', {}, create('summary', { text: `${rest.length} more labels` }), list(rest)));
}

const list = (items: HTMLLIElement[]) => create('ul', { class: 'bars' }, ...items);

function bar({ label, score: value }: LabelScore, shares: boolean): HTMLLIElement {
  const fill = create('span', { class: 'fill' });
  fill.style.inlineSize = `${Math.min(Math.max(value, 0), 1) * 100}%`;
  return create(
    'li',
    {},
    create('span', { class: 'label', text: label }),
    create('span', { class: 'score', text: score(value, shares) }),
    create('span', { class: 'track', attributes: { 'aria-hidden': 'true' } }, fill),
  );
}
