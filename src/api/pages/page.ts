/** Markup of the page at `/`, where a person classifies a text or labels a file. Its scripts, in client/, use the public API. */
import { html } from 'hono/html';

type Html = ReturnType<typeof html>;

/** Links are relative, because a proxy may serve the API below another path. */
export const page = (version: string): Html =>
  html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>Amulet: labels for your texts</title>
        <link rel="icon" href="page/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="page/page.css" />
        <script type="module" src="page/main.ts"></script>
      </head>
      <body>
        <a class="skip" href="#text">Skip to the text</a>
        ${banner()}
        <main>
          <div class="intro">
            <h1>Labels for your texts</h1>
            <p>Classify a single text, or label a file with millions of them.</p>
          </div>
          ${figures()}
          <div class="columns">${textPanel()} ${filePanel()}</div>
          <noscript
            ><p class="problem">
              This page needs JavaScript. The API does not: see its documentation.
            </p></noscript
          >
        </main>
        <footer>
          <p>Amulet ${version}</p>
          <p>This page uses the <a href="docs">HTTP API</a> and nothing else.</p>
        </footer>
        ${keyDialog()}
      </body>
    </html>`;

const banner = (): Html => html`
  <header>
    <p class="brand"><img src="page/icon.svg" alt="" width="26" height="26" /> Amulet</p>
    <nav aria-label="Service">
      <button type="button" class="quiet" id="enter-key" hidden>Enter API key</button>
      <button type="button" class="quiet" id="forget-key" hidden>Forget key</button>
      <a href="docs">API documentation</a>
    </nav>
  </header>
`;

const figures = (): Html => html`
  <section class="figures" aria-label="Current load">
    <dl>
      <div>
        <dt>Texts waiting</dt>
        <dd id="stat-texts">–</dd>
      </div>
      <div>
        <dt>Batch rows left</dt>
        <dd id="stat-rows">–</dd>
      </div>
      <div class="with-curve">
        <dt>Texts per second</dt>
        <dd id="stat-rate">–</dd>
        <dd class="curve" aria-hidden="true">
          <svg id="curve" viewBox="0 0 100 24" preserveAspectRatio="none"><polyline points="" /></svg>
        </dd>
      </div>
      <div>
        <dt>Workers</dt>
        <dd id="stat-workers">–</dd>
      </div>
    </dl>
  </section>
`;

/** The page shows the first of them that the model reads: English alone until the model is known. */
const EXAMPLES = [
  ['en', 'a funny, moving film'],
  ['ru', 'Это отличный результат!'],
  ['de', 'Der Film war leider langweilig.'],
  ['es', 'No está nada mal.'],
  ['zh', '服务太差了'],
  ['ar', 'خدمة رائعة جدا'],
  ['fr', 'Quelle déception.'],
  ['ja', 'とても楽しかったです。'],
  ['hi', 'यह बहुत अच्छा था।'],
  ['ru', 'Магазин открывается в девять.'],
  ['en', 'two hours I want back'],
  ['en', 'not bad at all'],
] as const;

const textPanel = (): Html => html`
  <section class="panel" aria-labelledby="one-title">
    <h2 id="one-title">One text</h2>
    <form id="text-form">
      <label for="text">Text</label>
      <textarea
        id="text"
        rows="4"
        dir="auto"
        aria-describedby="text-hint"
        placeholder="Type or paste a text"
      ></textarea>
      <div class="examples" role="group" aria-label="Examples">
        ${EXAMPLES.map(
          ([language, text]) =>
            html`<button
              type="button"
              class="chip"
              data-example
              lang="${language}"
              dir="auto"
              ${language === 'en' ? '' : 'hidden'}
            >
              ${text}
            </button>`,
        )}
      </div>
      <div class="row">
        <div class="field">
          <label for="model">Model</label>
          <select id="model" aria-describedby="model-reads"></select>
        </div>
        <button type="submit" id="classify">Classify</button>
      </div>
      <p class="hint" id="model-reads"></p>
      <p class="hint keyboard" id="text-hint">Ctrl + Enter submits the text.</p>
    </form>
    <p id="job-status" class="unseen" role="status"></p>
    <div id="job-problem" class="problem" role="alert" hidden></div>
    <p id="job-empty" class="empty">The labels and the progress of the job appear here.</p>
    <div id="job" hidden>
      <h3 id="labels-title" hidden>Labels</h3>
      <div id="labels"></div>
      <p class="hint" id="job-hint"></p>
      <h3>The job</h3>
      <ol class="path" id="job-path"></ol>
      <div class="actions">
        <button type="button" class="secondary" id="cancel-job" hidden>Cancel</button>
      </div>
      ${curlBlock('job-curl', 'The same with curl')}
    </div>
  </section>
`;

const filePanel = (): Html => html`
  <section class="panel" aria-labelledby="many-title">
    <h2 id="many-title">A whole file</h2>
    <div id="drop" class="drop">
      <input type="file" id="file" class="unseen" aria-describedby="file-hint" />
      <label for="file"><strong>Choose a file</strong> or drop it here</label>
      <p class="hint" id="file-hint">JSON Lines, CSV, TSV, or one text per line; any size, gzipped or not.</p>
    </div>
    <form id="file-form" hidden>
      <p class="file"><strong id="file-name"></strong> <span id="file-size"></span></p>
      <div class="fields">
        <div class="field">
          <label for="format">Format</label>
          <select id="format">
            <option value="ndjson">JSON Lines</option>
            <option value="csv">CSV</option>
            <option value="csv-semicolons">CSV, semicolons</option>
            <option value="tsv">TSV</option>
            <option value="lines">One text per line</option>
          </select>
        </div>
        <div class="field" id="quote-row">
          <label for="quote">Quotes</label>
          <select id="quote">
            <option value="">Default</option>
            <option value='"'>May span lines</option>
            <option value="line">End on their line</option>
            <option value="none">No quoting</option>
          </select>
        </div>
        <div class="field" id="field-row">
          <label for="text-field">Field with the text</label>
          <input type="text" id="text-field" list="fields" required autocomplete="off" spellcheck="false" />
          <datalist id="fields"></datalist>
        </div>
        <div class="field">
          <label for="top-k">Labels per text</label>
          <select id="top-k">
            <option value="1">The best one</option>
            <option value="all">All, with scores</option>
          </select>
        </div>
        <div class="field">
          <label for="batch-model">Model</label>
          <select id="batch-model" aria-describedby="batch-model-reads"></select>
        </div>
      </div>
      <p class="hint" id="batch-model-reads"></p>
      <div id="file-doubt" class="problem" role="status" hidden></div>
      <div class="actions">
        <button type="submit" id="start">Label the file</button>
        <button type="button" class="secondary" id="other-file">Another file</button>
      </div>
    </form>
    <p id="batch-status" class="unseen" role="status"></p>
    <div id="batch" hidden>
      <h3 id="batch-name"></h3>
      <progress id="batch-progress" max="1" aria-labelledby="batch-name"></progress>
      <p id="batch-figures" class="progress-figures"></p>
      <ol class="path" id="batch-path"></ol>
      <div id="batch-labels" class="labels"></div>
      <p class="hint" id="batch-tally"></p>
      <div class="actions">
        <button type="button" id="download" hidden>Download the labels</button>
        <button type="button" class="secondary" id="download-table" hidden>
          Download as CSV, with your columns
        </button>
        <button type="button" class="secondary" id="cancel-batch" hidden>Cancel</button>
        <button type="button" class="secondary" id="another" hidden>Another file</button>
        <button type="button" class="secondary" id="remove-batch" hidden>Remove</button>
      </div>
      <p class="hint" id="batch-hint"></p>
    </div>
    <div id="batch-problem" class="problem" role="alert" hidden></div>
    <div id="batch-curl-block" hidden>${curlBlock('batch-curl', 'The same with curl')}</div>
    <p class="hint">
      You can reload this page at any time. For very large files use <code>amulet backfill</code>, which also
      resumes an interrupted upload.
    </p>
  </section>
`;

const curlBlock = (id: string, title: string): Html => html`
  <div class="curl">
    <div class="curl-title">
      <h3>${title}</h3>
      <button type="button" class="quiet" data-copies="${id}" aria-live="polite">Copy</button>
    </div>
    <pre tabindex="0" aria-label="Command lines"><code id="${id}"></code></pre>
  </div>
`;

const keyDialog = (): Html => html`
  <dialog id="key-dialog" aria-labelledby="key-title">
    <form id="key-form">
      <h2 id="key-title">This server requires an API key</h2>
      <p id="key-reason" class="problem" role="alert" hidden></p>
      <label for="key">API key</label>
      <input
        type="password"
        id="key"
        required
        autocomplete="off"
        spellcheck="false"
        aria-describedby="key-hint"
      />
      <p class="hint" id="key-hint">The key is kept in this tab only, until you close it.</p>
      <div class="actions">
        <button type="submit">Use this key</button>
        <button type="button" class="secondary" id="key-cancel">Not now</button>
      </div>
    </form>
  </dialog>
`;
