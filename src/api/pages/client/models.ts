/** The choice of a model, in both forms. */
import type { Model } from '../../../shared/contract/models.ts';
import { create, element } from './dom.ts';

export class ModelChoice {
  readonly #select: HTMLSelectElement;
  #default: string | undefined;

  /** @param id of the select */
  constructor(id: string) {
    this.#select = element(id, HTMLSelectElement);
  }

  /** Whatever was chosen stays, as long as it is there. */
  offer(models: readonly Model[]): void {
    const chosen = this.#select.value;
    this.#default = models.find((model) => model.default)?.name;
    // Those that no worker serves come last; they can still be chosen: a batch waits for one.
    const options = models.map(({ name, workers }) =>
      workers > 0
        ? create('option', { text: name, attributes: { value: name } })
        : create('option', { text: `${name} (no worker)`, attributes: { value: name, class: 'unserved' } }),
    );
    this.#select.replaceChildren(...options);
    this.#select.value = models.some(({ name }) => name === chosen) ? chosen : (this.#default ?? '');
  }

  /** The chosen one, unless it is the one that goes without saying. */
  get value(): string | undefined {
    const { value } = this.#select;
    return value === '' || value === this.#default ? undefined : value;
  }

  /** The same as a member of a request. */
  named(): { model?: string } {
    return this.value === undefined ? {} : { model: this.value };
  }
}
