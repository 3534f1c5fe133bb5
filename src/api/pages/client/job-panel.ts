/** The panel for one text: submits a job and shows its states and labels. */
import type { Job } from '../../../shared/contract/jobs.ts';
import { isFinal } from '../../../shared/contract/states.ts';
import { urlOf, type Api } from './api.ts';
import { Curl } from './curl.ts';
import { element, say, showCommands } from './dom.ts';
import { plural } from '../../../shared/contract/quantities.ts';
import { capitalized, elapsed, score, stateSentence } from './format.ts';
import { examplesFor } from './examples.ts';
import { showLabels } from './labels.ts';
import { ModelChoice } from './models.ts';
import { showPath, type Step } from './path.ts';
import { explain, retryDelay, showProblem } from './problems.ts';
import { sleep } from './sleep.ts';
import { labelHint } from './unknown.ts';

/** Longest wait of one request: the place in the queue, which the panel shows, may change meanwhile. */
const WAIT_MS = 2000;
/** Shortest time between two requests, for servers that answer without waiting. */
const SOONEST_MS = 300;

export class JobPanel {
  readonly #api: Api;
  readonly model: ModelChoice;
  readonly #text = element('text', HTMLTextAreaElement);
  readonly #submit = element('classify', HTMLButtonElement);
  readonly #cancel = element('cancel-job', HTMLButtonElement);
  readonly #problem = element('job-problem', HTMLElement);
  readonly #status = element('job-status', HTMLElement);
  readonly #empty = element('job-empty', HTMLElement);
  readonly #result = element('job', HTMLElement);
  readonly #path = element('job-path', HTMLOListElement);
  readonly #labels = element('labels', HTMLElement);
  readonly #labelsTitle = element('labels-title', HTMLElement);
  readonly #hint = element('job-hint', HTMLElement);
  readonly #curl = element('job-curl', HTMLElement);
  readonly #examples = [...document.querySelectorAll<HTMLButtonElement>('[data-example]')];
  /** Aborts the requests for the current text when another one is submitted. */
  #running = new AbortController();

  constructor(api: Api) {
    this.#api = api;
    const form = element('text-form', HTMLFormElement);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#classify();
    });
    this.#text.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      form.requestSubmit();
    });
    for (const chip of this.#examples) {
      chip.addEventListener('click', () => {
        this.#text.value = chip.textContent.trim();
        form.requestSubmit();
      });
    }
    this.model = new ModelChoice('model', () => this.#showExamples());
  }

  #showExamples(): void {
    const languages = this.#examples.map(({ lang }) => lang);
    const shown = examplesFor(languages, this.model.languages);
    for (const [i, chip] of this.#examples.entries()) chip.hidden = !shown.includes(i);
  }

  async #classify(): Promise<void> {
    this.#running.abort();
    this.#running = new AbortController();
    const { signal } = this.#running;
    const { languages } = this.model;
    const body = { text: this.#text.value, top_k: null, ...this.model.named() };
    showProblem(this.#problem, undefined);
    say(this.#status, 'Sending the text.');
    this.#submit.setAttribute('aria-busy', 'true');
    try {
      const job = await this.#submitJob(body, signal);
      const curl = new Curl(urlOf('/'), { needsKey: this.#api.hasKey });
      showCommands(this.#curl, [curl.createJob(body), curl.read(`${job.urls.self}?wait=30`)]);
      await this.#follow(job, languages, signal);
    } catch (error) {
      if (signal.aborted) return;
      say(this.#status, '');
      showProblem(this.#problem, explain(error));
    } finally {
      if (!signal.aborted) this.#submit.removeAttribute('aria-busy');
    }
  }

  /** When the text is refused, the labels of the previous text disappear. */
  async #submitJob(body: object, signal: AbortSignal): Promise<Job> {
    try {
      return await this.#api.post<Job>('/v1/jobs', body, signal);
    } catch (error) {
      this.#result.hidden = true;
      throw error;
    }
  }

  async #follow(submitted: Job, languages: readonly string[] | null, signal: AbortSignal): Promise<void> {
    let job = submitted;
    this.#cancel.onclick = () => void this.#end(job, signal);
    let troubled = false;
    this.#show(job, languages);
    while (!isFinal(job.status)) {
      const waitS = Math.ceil(this.#api.pace(WAIT_MS) / 1000);
      try {
        // A server with a smaller MAX_WAIT_S, or one that is stopping, answers at once: without this it would be polled without a pause.
        const soonest = sleep(this.#api.pace(SOONEST_MS), signal);
        soonest.catch(() => {});
        job = await this.#api.json<Job>(`${job.urls.self}?wait=${waitS}`, { signal });
        if (!isFinal(job.status)) await soonest;
        if (troubled) showProblem(this.#problem, undefined);
        troubled = false;
      } catch (error) {
        const delay = retryDelay(error);
        if (delay === undefined) throw error;
        troubled = true;
        showProblem(this.#problem, explain(error));
        await sleep(delay, signal);
      }
      signal.throwIfAborted();
      this.#show(job, languages);
    }
  }

  /** #follow() shows the end of the job. */
  async #end({ urls }: Job, signal: AbortSignal): Promise<void> {
    try {
      await this.#api.send(urls.self, { method: 'DELETE', signal });
    } catch (error) {
      if (!signal.aborted) showProblem(this.#problem, explain(error));
    }
  }

  /** @param languages of the model; null: not known */
  #show(job: Job, languages: readonly string[] | null): void {
    this.#empty.hidden = true;
    this.#result.hidden = false;
    this.#cancel.hidden = isFinal(job.status);
    showPath(this.#path, stepsOf(job));
    const [row] = job.results ?? [];
    this.#labelsTitle.hidden = !(row && 'label' in row);
    if (row && 'label' in row) {
      showLabels(this.#labels, row.labels ?? [row]);
      say(this.#status, `${row.label}, ${score(row.score, row.score >= 0 && row.score <= 1)}`);
      say(this.#hint, labelHint(row, languages));
      return;
    }
    this.#labels.replaceChildren();
    say(this.#hint, waitingHint(job));
    const sentence = stateSentence('The job', job.status);
    say(this.#status, `${sentence}.`);
    const error = row?.error ?? job.error;
    if (!error) return;
    const reason = capitalized(error.message);
    showProblem(this.#problem, { title: sentence, lines: reason === sentence ? [] : [reason] });
  }
}

function waitingHint({ status, model }: Job): string {
  if (status !== 'queued' || model.workers !== 0) return '';
  return `No worker serves ${model.name} at the moment. The job waits, and starts as soon as a worker is available.`;
}

function stepsOf(job: Job): Step[] {
  const { status, timings_ms: timings, ahead = 0, started_at: started } = job;
  const queued = timings
    ? elapsed(timings.queue)
    : ahead > 0
      ? `${plural(ahead, 'job')} ahead`
      : 'next in line';
  if (!isFinal(status)) {
    const processing = status === 'processing';
    return [
      { state: 'queued', is: processing ? 'past' : 'now', note: processing ? '' : queued },
      { state: 'processing', is: processing ? 'now' : 'ahead' },
      { state: 'succeeded', is: 'ahead' },
    ];
  }
  const worked: Step[] =
    started === null
      ? []
      : [{ state: 'processing', is: 'past', note: timings ? elapsed(timings.inference) : '' }];
  return [
    { state: 'queued', is: 'past', note: queued },
    ...worked,
    {
      state: status,
      is: status === 'succeeded' ? 'done' : 'ended',
      note: timings ? `${elapsed(timings.total)} in all` : '',
    },
  ];
}
