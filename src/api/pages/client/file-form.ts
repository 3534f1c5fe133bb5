/** The form for a file: chooses it, proposes a format and a text field, and warns when they do not fit. */
import { sniff } from '../../../shared/bulk/sniff.ts';
import { delimiters, fileFormats, proposedFormat, type BatchOptions } from './batch-input.ts';
import { create, element, say } from './dom.ts';
import { bytes } from './format.ts';
import type { ModelChoice } from './models.ts';
import { doubtOf, findFields, readHead, USUAL_FIELD, type Head } from './peek.ts';
import { showProblem, type Explanation } from './problems.ts';

export interface ChosenFile {
  file: File;
  options: BatchOptions;
}

const quotes = ['"', 'none', 'line'] as const;

/** The formats of batches as the format select names them. */
const FORMAT_NAMES: Readonly<Record<string, string>> = {
  ndjson: 'JSON Lines',
  csv: 'CSV',
  lines: 'One text per line',
  ',': 'CSV',
  ';': 'CSV, semicolons',
  '\t': 'TSV',
};

/** Checks the start of a file, before all of it is sent. @returns why it cannot be read in the chosen format */
function fileDoubt(
  file: File,
  { bytes: head, whole, gzip, text }: Head,
  format: BatchOptions['format'],
): Explanation | undefined {
  const delimiter = delimiters[format];
  const reading = {
    format: format === 'ndjson' || format === 'lines' ? format : ('csv' as const),
    delimiter,
    // Whichever field is chosen, a header with the usual name shows which delimiter the file has.
    textField: USUAL_FIELD,
    explicit: false,
    option: (name: string, value: string) =>
      name === 'text_field' ? `field “${value}”` : `format “${FORMAT_NAMES[value] ?? value}”`,
  };
  const finding = sniff(head, whole, reading, { name: file.name, gzip });
  if (finding !== undefined)
    return { title: 'This file does not match the chosen format', lines: [`It ${finding}.`] };
  const doubt = doubtOf(text, format);
  return doubt === undefined ? undefined : { title: 'Is this the right format?', lines: [doubt] };
}

export class FileForm {
  readonly #model: ModelChoice;
  readonly #drop = element('drop', HTMLElement);
  readonly #input = element('file', HTMLInputElement);
  readonly #form = element('file-form', HTMLFormElement);
  readonly #name = element('file-name', HTMLElement);
  readonly #size = element('file-size', HTMLElement);
  readonly #format = element('format', HTMLSelectElement);
  readonly #quoteRow = element('quote-row', HTMLElement);
  readonly #quote = element('quote', HTMLSelectElement);
  readonly #fieldRow = element('field-row', HTMLElement);
  readonly #field = element('text-field', HTMLInputElement);
  readonly #fields = element('fields', HTMLDataListElement);
  readonly #doubt = element('file-doubt', HTMLElement);
  readonly #topK = element('top-k', HTMLSelectElement);
  readonly #onProblem: (problem: Explanation | undefined) => void;
  #chosen: { file: File; head: Head } | undefined;
  /** The file that was chosen last; its start may still be loading. */
  #latest: File | undefined;

  /** @param onProblem called with the reason when a file cannot be read, and with undefined once one could */
  constructor(
    model: ModelChoice,
    onStart: (chosen: ChosenFile) => void,
    onProblem: (problem: Explanation | undefined) => void,
  ) {
    this.#model = model;
    this.#onProblem = onProblem;
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

  /** Shows only the place to drop a file. */
  reset(): void {
    this.#chosen = undefined;
    this.#latest = undefined;
    this.#input.value = '';
    this.#drop.hidden = false;
    this.#form.hidden = true;
  }

  /** Hides the form while a batch is shown. */
  hide(): void {
    this.#drop.hidden = true;
    this.#form.hidden = true;
  }

  /** Shows the chosen file again, for another try. */
  show(): void {
    this.#drop.hidden = this.#chosen !== undefined;
    this.#form.hidden = this.#chosen === undefined;
  }

  async #choose(file: File): Promise<void> {
    this.#latest = file;
    let head: Head;
    try {
      head = await readHead(file);
    } catch (error) {
      const lines = ['It may be a folder, or it was moved or deleted.', String(error)];
      if (this.#latest === file) this.#onProblem({ title: `${file.name} cannot be read`, lines });
      return;
    }
    if (this.#latest !== file) return;
    this.#onProblem(undefined);
    this.#chosen = { file, head };
    say(this.#name, file.name);
    say(this.#size, bytes(file.size) + (head.gzip ? ', gzip' : ''));
    this.#format.value = proposedFormat(file.name);
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
    this.#quoteRow.hidden = !(format in delimiters);
    const { names, likely } = findFields(this.#chosen?.head.text ?? '', format);
    showProblem(this.#doubt, this.#chosen && fileDoubt(this.#chosen.file, this.#chosen.head, format));
    this.#fields.replaceChildren(...names.map((name) => create('option', { attributes: { value: name } })));
    this.#field.value = likely ?? 'text';
  }

  #options({ gzip }: Head): BatchOptions {
    return {
      format: this.#chosenFormat,
      gzip,
      quote: quotes.find((quote) => quote === this.#quote.value),
      textField: this.#field.value,
      topK: this.#topK.value,
      model: this.#model.value,
    };
  }
}
