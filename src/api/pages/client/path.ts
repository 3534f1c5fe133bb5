/** Shows the states of a job or batch as steps. */
import { create } from './dom.ts';

export interface Step {
  state: string;
  note?: string | undefined;
  /** `ended`: failed, canceled or expired. */
  is: 'past' | 'now' | 'ahead' | 'done' | 'ended';
}

export function showPath(list: HTMLOListElement, steps: readonly Step[]): void {
  const items = steps.map(({ state, note, is }) =>
    create(
      'li',
      { class: is, attributes: is === 'past' || is === 'ahead' ? {} : { 'aria-current': 'step' } },
      create('span', { class: 'state', text: state }),
      create('span', { class: 'note', text: note ?? '' }),
    ),
  );
  list.replaceChildren(...items);
}
