/** The select for a model, in both forms. */
import type { Model } from '../../../shared/contract/models.ts';
import { create, element } from './dom.ts';

export class ModelChoice {
  readonly #select: HTMLSelectElement;
  #default: string | undefined;

  /** @param id of the select */
  constructor(id: string) {
    this.#select = element(id, HTMLSelectElement);
  }

  /** Fills the select; a model that was chosen stays chosen while it exists. */
  offer(models: readonly Model[]): void {
    const chosen = this.#select.value;
    this.#default = models.find((model) => model.default)?.name;
    // Models without a worker come last. They can still be chosen: a job or batch waits for a worker.
    const options = models.map(({ name, workers }) =>
      workers > 0
        ? create('option', { text: name, attributes: { value: name } })
        : create('option', { text: `${name} (no worker)`, attributes: { value: name, class: 'unserved' } }),
    );
    this.#select.replaceChildren(...options);
    this.#select.value = models.some(({ name }) => name === chosen) ? chosen : (this.#default ?? '');
  }

  /** The chosen model; undefined for the default model. */
  get value(): string | undefined {
    const { value } = this.#select;
    return value === '' || value === this.#default ? undefined : value;
  }

  /** The same as a field of a request. */
  named(): { model?: string } {
    return this.value === undefined ? {} : { model: this.value };
  }
}
