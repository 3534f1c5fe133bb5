/** The panel for a file: uploads it and shows its batch. The address of the page names the batch, so that a reload finds it. */
import type { Batch } from '../../../shared/contract/batches.ts';
import { isFinal } from '../../../shared/contract/states.ts';
import { urlOf, type Api } from './api.ts';
import { batchInput } from './batch-input.ts';
import { allFailed, isAllFailed, problemOf, showBatch } from './batch-view.ts';
import { Curl } from './curl.ts';
import { element, say, showCommands } from './dom.ts';
import { download, needsMemory } from './download.ts';
import { firstErrors } from './first-errors.ts';
import { FileForm, type ChosenFile } from './file-form.ts';
import { bytes } from './format.ts';
import type { ModelChoice } from './models.ts';
import { showPath } from './path.ts';
import { ApiProblem, explain, retryDelay, showProblem, Unreachable, type Explanation } from './problems.ts';
import { sleep } from './sleep.ts';
import { upload } from './upload.ts';

/** The interval of polling doubles from the first to the second: a small file is done at once, a large one takes hours. */
const FIRST_POLL_MS = 150;
const POLL_MS = 1200;
const NOT_FOUND = 404;

export class BatchPanel {
  readonly #api: Api;
  readonly #form: FileForm;
  readonly #panel = element('batch', HTMLElement);
  readonly #title = element('batch-name', HTMLElement);
  readonly #path = element('batch-path', HTMLOListElement);
  readonly #progress = element('batch-progress', HTMLProgressElement);
  readonly #figures = element('batch-figures', HTMLElement);
  readonly #labels = element('batch-labels', HTMLElement);
  readonly #tally = element('batch-tally', HTMLElement);
  readonly #status = element('batch-status', HTMLElement);
  readonly #problem = element('batch-problem', HTMLElement);
  readonly #hint = element('batch-hint', HTMLElement);
  readonly #curlBlock = element('batch-curl-block', HTMLElement);
  readonly #curl = element('batch-curl', HTMLElement);
  readonly #cancel = element('cancel-batch', HTMLButtonElement);
  readonly #download = element('download', HTMLButtonElement);
  readonly #table = element('download-table', HTMLButtonElement);
  readonly #remove = element('remove-batch', HTMLButtonElement);
  readonly #another = element('another', HTMLButtonElement);
  /** The curl command for the latest upload: a batch that was opened by its address has none. */
  #sent: { batch: string; command: string } | undefined;
  #batch: Batch | undefined;
  /** Messages of the first failed rows of a batch without labels. */
  #errors: readonly string[] = [];
  /** Why the latest click failed. */
  #failure: Explanation | undefined;
  #running = new AbortController();

  constructor(api: Api, model: ModelChoice) {
    this.#api = api;
    this.#form = new FileForm(
      model,
      (chosen) => void this.#start(chosen),
      (problem) => showProblem(this.#problem, problem),
    );
    this.#cancel.addEventListener('click', () => void this.#end());
    this.#remove.addEventListener('click', () => void this.#end());
    this.#download.addEventListener('click', () => void this.#save(this.#download, '', 'jsonl'));
    this.#table.addEventListener('click', () => void this.#save(this.#table, '?format=csv&keep=*', 'csv'));
    this.#another.addEventListener('click', () => {
      location.hash = '';
    });
    addEventListener('hashchange', () => this.open());
  }

  /** Shows the batch that the address names, or else the form for a file. */
  open(): void {
    const { id, file = 'A batch' } = fromAddress();
    if (id === undefined) this.#reset();
    else void this.#follow(id, file);
  }

  /** Loads the batch again, with another key. */
  reopen(): void {
    if (fromAddress().id !== undefined) this.open();
  }

  #begin(name: string): AbortSignal {
    this.#running.abort();
    this.#running = new AbortController();
    this.#form.hide();
    this.#panel.hidden = false;
    this.#batch = undefined;
    this.#failure = undefined;
    this.#errors = [];
    this.#progress.removeAttribute('value');
    this.#progress.classList.remove('failed');
    this.#path.replaceChildren();
    for (const button of [this.#cancel, this.#download, this.#table, this.#remove, this.#another])
      button.hidden = true;
    say(this.#title, name);
    say(this.#figures, '');
    this.#labels.replaceChildren();
    say(this.#tally, '');
    say(this.#hint, '');
    showProblem(this.#problem, undefined);
    return this.#running.signal;
  }

  #reset(): void {
    this.#running.abort();
    this.#panel.hidden = true;
    this.#batch = undefined;
    this.#curlBlock.hidden = true;
    showProblem(this.#problem, undefined);
    say(this.#status, '');
    this.#form.reset();
  }

  async #start({ file, options }: ChosenFile): Promise<void> {
    const signal = this.#begin(file.name);
    const input = batchInput(options);
    const command = this.#commands().createBatch(input, file.name);
    this.#showCurl([command]);
    this.#cancel.hidden = false;
    this.#showUpload(file, 0);
    say(this.#status, `Uploading ${file.name}.`);
    addEventListener('beforeunload', stay);
    try {
      // Asks for a missing key before a long upload, not after it.
      await this.#api.send('/v1/models', { signal });
      const batch = await upload<Batch>(urlOf(input.path), file, {
        headers: { ...input.headers, ...this.#api.headers },
        signal,
        onProgress: (sent) => this.#showUpload(file, sent),
      });
      this.#sent = { batch: batch.id, command };
      toAddress(batch.id, file.name);
    } catch (error) {
      if (signal.aborted) return;
      this.#backToForm('');
      showProblem(this.#problem, uploadProblem(error));
    } finally {
      removeEventListener('beforeunload', stay);
    }
  }

  /** @param status for screen readers */
  #backToForm(status: string): void {
    this.#panel.hidden = true;
    this.#form.show();
    say(this.#status, status);
  }

  #showUpload(file: File, sent: number): void {
    // Once everything is sent, the bar shows no share: the server's response can take a while.
    if (sent >= file.size) this.#progress.removeAttribute('value');
    else this.#progress.value = sent / file.size;
    say(this.#figures, `${bytes(Math.min(sent, file.size))} of ${bytes(file.size)}`);
    showPath(this.#path, [
      { state: 'uploading', is: 'now' },
      { state: 'queued', is: 'ahead' },
      { state: 'processing', is: 'ahead' },
      { state: 'completed', is: 'ahead' },
    ]);
  }

  async #follow(id: string, name: string): Promise<void> {
    const signal = this.#begin(name);
    const path = `/v1/batches/${encodeURIComponent(id)}`;
    let wanted = FIRST_POLL_MS;
    do {
      let pause = this.#api.pace(wanted);
      wanted = Math.min(wanted * 2, POLL_MS);
      try {
        const batch = await this.#api.json<Batch>(path, { signal });
        this.#show(batch);
        if (isAllFailed(batch)) await this.#showErrors(batch, signal);
        if (isFinal(batch.status)) return;
      } catch (error) {
        if (signal.aborted) return;
        showProblem(this.#problem, explain(error));
        const delay = retryDelay(error);
        if (delay === undefined) {
          this.#another.hidden = false;
          return;
        }
        pause = delay;
      }
      await sleep(pause, signal);
    } while (!signal.aborted);
  }

  #show(batch: Batch): void {
    this.#batch = batch;
    showBatch(batch, {
      path: this.#path,
      progress: this.#progress,
      figures: this.#figures,
      labels: this.#labels,
      tally: this.#tally,
      status: this.#status,
    });
    const failed = isAllFailed(batch);
    showProblem(this.#problem, this.#failure ?? (failed ? allFailed(batch, this.#errors) : problemOf(batch)));
    const final = isFinal(batch.status);
    const { rows, urls } = batch;
    this.#cancel.hidden = final;
    this.#remove.hidden = !final;
    this.#another.hidden = !final;
    this.#download.hidden = rows.finished === 0;
    this.#table.hidden = rows.finished === 0;
    this.#download.classList.toggle('secondary', failed);
    say(
      this.#download,
      failed
        ? 'Download the errors'
        : batch.status === 'completed'
          ? 'Download the labels'
          : 'Download the finished labels',
    );
    const curl = this.#commands();
    this.#showCurl([
      ...(this.#sent?.batch === batch.id ? [this.#sent.command] : []),
      curl.read(urls.self),
      curl.download(urls.results, resultsName('jsonl')),
    ]);
    say(
      this.#hint,
      needsMemory(this.#api) && !this.#download.hidden
        ? 'With an API key, this browser holds a download in memory before saving it. For large results use the curl command.'
        : '',
    );
  }

  async #showErrors(batch: Batch, signal: AbortSignal): Promise<void> {
    this.#errors = await firstErrors(this.#api, batch.urls.results, signal);
    if (!signal.aborted) this.#show(batch);
  }

  /** Cancels an upload or a batch; removes a batch that has ended. */
  async #end(): Promise<void> {
    if (!this.#batch) {
      this.#running.abort();
      this.#backToForm('The upload was canceled.');
      return;
    }
    if (isFinal(this.#batch.status) && !confirm('Remove the batch, with its texts and results?')) return;
    this.#failure = undefined;
    const { signal } = this.#running;
    try {
      // Without the signal: the request completes even if another batch is opened meanwhile.
      const response = await this.#api.send(this.#batch.urls.self, { method: 'DELETE' });
      const batch = response.status === 200 ? ((await response.json()) as Batch) : undefined;
      if (signal.aborted) return;
      if (batch) this.#show(batch);
      else location.hash = '';
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiProblem && error.status === NOT_FOUND) location.hash = '';
      else this.#fail(error);
    }
  }

  async #save(button: HTMLButtonElement, query: string, extension: string): Promise<void> {
    if (!this.#batch) return;
    this.#failure = undefined;
    button.setAttribute('aria-busy', 'true');
    try {
      await download(this.#api, this.#batch.urls.results + query, resultsName(extension));
    } catch (error) {
      this.#fail(error);
    } finally {
      button.removeAttribute('aria-busy');
    }
  }

  #fail(error: unknown): void {
    this.#failure = explain(error);
    showProblem(this.#problem, this.#failure);
  }

  #commands(): Curl {
    return new Curl(urlOf('/'), { needsKey: this.#api.hasKey });
  }

  #showCurl(commands: string[]): void {
    this.#curlBlock.hidden = false;
    showCommands(this.#curl, commands);
  }
}

/** Makes the browser ask before the page is left. */
const stay = (event: BeforeUnloadEvent): void => event.preventDefault();

/** The batch and the file name in the address of the page, if they are there. */
function fromAddress(): { id: string | undefined; file: string | undefined } {
  const query = new URLSearchParams(location.hash.slice(1));
  return { id: query.get('batch') ?? undefined, file: query.get('file') ?? undefined };
}

function toAddress(batch: string, file: string): void {
  location.hash = new URLSearchParams({ batch, file }).toString();
}

/** `reviews.csv.gz`, `jsonl` → `reviews.labels.jsonl` */
function resultsName(extension: string): string {
  const { file } = fromAddress();
  const stem = file === undefined ? '' : `${file.replace(/(\.\w+)?(\.gz)?$/i, '')}.`;
  return `${stem}labels.${extension}`;
}

function uploadProblem(error: unknown): Explanation {
  if (!(error instanceof Unreachable)) return explain(error);
  return {
    title: 'The upload was interrupted',
    lines: [
      'The network is down, or the server did not accept the file. Nothing was stored.',
      '`amulet backfill` can resume an interrupted upload.',
    ],
  };
}
