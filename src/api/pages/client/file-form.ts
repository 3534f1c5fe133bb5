/** The choice of a file, and how it is to be read. */
import { fileFormats, formatByName, type BatchOptions } from './batch-input.ts';
import { create, element, say } from './dom.ts';
import { bytes } from './format.ts';
import type { ModelChoice } from './models.ts';
import { findFields, readHead, type Head } from './peek.ts';

export interface ChosenFile {
  file: File;
  options: BatchOptions;
}

export class FileForm {
  readonly #model: ModelChoice;
  readonly #drop = element('drop', HTMLElement);
  readonly #input = element('file', HTMLInputElement);
  readonly #form = element('file-form', HTMLFormElement);
  readonly #name = element('file-name', HTMLElement);
  readonly #size = element('file-size', HTMLElement);
  readonly #format = element('format', HTMLSelectElement);
  readonly #fieldRow = element('field-row', HTMLElement);
  readonly #field = element('text-field', HTMLInputElement);
  readonly #fields = element('fields', HTMLDataListElement);
  readonly #topK = element('top-k', HTMLSelectElement);
  #chosen: { file: File; head: Head } | undefined;

  constructor(model: ModelChoice, onStart: (chosen: ChosenFile) => void) {
    this.#model = model;
    this.#input.addEventListener('change', () => {
      const [file] = this.#input.files ?? [];
      if (file) void this.#choose(file);
    });
    this.#drop.addEventListener('dragover', (event) => {
      event.preventDefault();
      this.#drop.classList.add('over');
    });
    this.#drop.addEventListener('dragleave', () => this.#drop.classList.remove('over'));
    this.#drop.addEventListener('drop', (event) => {
      event.preventDefault();
      this.#drop.classList.remove('over');
      const [file] = event.dataTransfer?.files ?? [];
      if (file) void this.#choose(file);
    });
    this.#format.addEventListener('change', () => this.#suggestField());
    element('other-file', HTMLButtonElement).addEventListener('click', () => {
      this.reset();
      this.#input.focus();
    });
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (this.#chosen) onStart({ file: this.#chosen.file, options: this.#options(this.#chosen.head) });
    });
  }

  /** Shows the place to drop a file, and nothing else. */
  reset(): void {
    this.#chosen = undefined;
    this.#input.value = '';
    this.#drop.hidden = false;
    this.#form.hidden = true;
  }

  /** Makes room for the progress of a batch. */
  hide(): void {
    this.#drop.hidden = true;
    this.#form.hidden = true;
  }

  /** Back to what was chosen, for another try. */
  show(): void {
    this.#drop.hidden = this.#chosen !== undefined;
    this.#form.hidden = this.#chosen === undefined;
  }

  async #choose(file: File): Promise<void> {
    this.#chosen = { file, head: await readHead(file) };
    say(this.#name, file.name);
    say(this.#size, bytes(file.size) + (this.#chosen.head.gzip ? ', gzip' : ''));
    this.#format.value = formatByName(file.name);
    this.#suggestField();
    this.show();
    element('start', HTMLButtonElement).focus();
  }

  get #chosenFormat(): BatchOptions['format'] {
    return fileFormats.find((format) => format === this.#format.value) ?? 'lines';
  }

  #suggestField(): void {
    const format = this.#chosenFormat;
    this.#fieldRow.hidden = format === 'lines';
    const { names, likely } = findFields(this.#chosen?.head.text ?? '', format);
    this.#fields.replaceChildren(...names.map((name) => create('option', { attributes: { value: name } })));
    this.#field.value = likely ?? 'text';
  }

  #options({ gzip }: Head): BatchOptions {
    return {
      format: this.#chosenFormat,
      gzip,
      textField: this.#field.value,
      topK: this.#topK.value,
      model: this.#model.value,
    };
  }
}
