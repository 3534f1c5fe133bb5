/** Labels as bars: of a text with their scores, of a batch with their rows. */
import { count, percent } from '../../../shared/contract/quantities.ts';
import type { LabelScore } from '../../../shared/contract/results.ts';
import { create } from './dom.ts';
import { score } from './format.ts';
import { tonesOf } from './tones.ts';

/** Labels shown at once; a model may have hundreds. */
const SHOWN = 6;

interface Bar {
  label: string;
  figure: string;
  /** Length of the bar, from 0 to 1. */
  share: number;
}

/** @param labels best first */
export function showLabels(where: HTMLElement, labels: readonly LabelScore[]): void {
  // The scores of a regression are not probabilities.
  const shares = labels.every((each) => each.score >= 0 && each.score <= 1);
  showBars(
    where,
    labels.map((each) => ({ label: each.label, figure: score(each.score, shares), share: each.score })),
  );
}

/** @param counts most frequent first */
export function showCounts(where: HTMLElement, counts: readonly { label: string; rows: number }[]): void {
  const all = counts.reduce((sum, { rows }) => sum + rows, 0);
  const open = where.querySelector('details')?.open;
  showBars(
    where,
    counts.map(({ label, rows }) => ({
      label,
      figure: `${count(rows)} · ${percent(rows / all)}`,
      share: rows / all,
    })),
  );
  // The counts of a running batch are shown anew every second.
  where.querySelector('details')?.toggleAttribute('open', open);
}

function showBars(where: HTMLElement, all: readonly Bar[]): void {
  const tones = tonesOf(all.map(({ label }) => label));
  const bars = all.map((each, i) => bar(each, tones[i]));
  const rest = bars.slice(SHOWN);
  where.replaceChildren(...(bars.length === 0 ? [] : [list(bars.slice(0, SHOWN))]));
  if (rest.length === 0) return;
  where.append(create('details', {}, create('summary', { text: `${rest.length} more labels` }), list(rest)));
}

const list = (items: HTMLLIElement[]) => create('ul', { class: 'bars' }, ...items);

function bar({ label, figure, share }: Bar, tone: ReturnType<typeof tonesOf>[number]): HTMLLIElement {
  const fill = create('span', { class: 'fill', ...(tone && { attributes: { 'data-tone': tone } }) });
  fill.style.inlineSize = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return create(
    'li',
    {},
    create('span', { class: 'label', text: label }),
    create('span', { class: 'score', text: figure }),
    create('span', { class: 'track', attributes: { 'aria-hidden': 'true' } }, fill),
  );
}
