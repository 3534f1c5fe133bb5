/** The select for a model, in both forms, and the line below it: the languages that the chosen model reads. */
import type { Model } from '../../../shared/contract/models.ts';
import { create, element, say } from './dom.ts';
import { optionText, readsText } from './model-text.ts';

export class ModelChoice {
  readonly #select: HTMLSelectElement;
  readonly #reads: HTMLElement;
  readonly #changed: () => void;
  #models: readonly Model[] = [];
  #default: string | undefined;

  /**
   * @param id of the select
   * @param changed called when another model is chosen, and when the models are known
   */
  constructor(id: string, changed: () => void = () => {}) {
    this.#select = element(id, HTMLSelectElement);
    this.#reads = element(`${id}-reads`, HTMLElement);
    this.#changed = changed;
    this.#select.addEventListener('change', () => this.#show());
  }

  /** Fills the select; a model that was chosen stays chosen while it exists. */
  offer(models: readonly Model[]): void {
    const chosen = this.#select.value;
    this.#models = models;
    this.#default = models.find((model) => model.default)?.name;
    // Models without a worker come last. They can still be chosen: a job or batch waits for a worker.
    const options = models.map((model) =>
      create('option', {
        text: optionText(model),
        attributes: { value: model.name, ...(model.workers === 0 && { class: 'unserved' }) },
      }),
    );
    this.#select.replaceChildren(...options);
    this.#select.value = models.some(({ name }) => name === chosen) ? chosen : (this.#default ?? '');
    this.#show();
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

  /** Languages that the chosen model reads; null: not known. */
  get languages(): readonly string[] | null {
    // An API of an earlier version has none.
    return this.#models.find(({ name }) => name === this.#select.value)?.languages ?? null;
  }

  #show(): void {
    say(this.#reads, readsText(this.languages));
    this.#changed();
  }
}
