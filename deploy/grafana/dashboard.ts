/** The dashboard amulet.json, for Grafana 11 and newer: rows of panels, each with the PromQL that it shows. */

interface Query {
  expr: string;
  /** Name of each of its lines; labels as `{{model}}`. */
  legend: string;
}

interface Panel {
  title: string;
  /** What it tells, and what to do about it. */
  about: string;
  /** As Grafana names them: `s`, `bytes`, `reqps`, `percentunit`, … */
  unit: string;
  queries: Query[];
  kind?: 'timeseries' | 'stat';
  stacked?: boolean;
  /** Values from which a figure is yellow, and red. */
  limits?: [number, number];
}

interface Row {
  title: string;
  panels: Panel[];
}

const WIDTH = 24;
const HEIGHT = { timeseries: 8, stat: 4 };
/** Panels side by side. */
const COLUMNS = { timeseries: 3, stat: 6 };

const MODEL = 'model=~"$model"';

const query = (legend: string, expr: string): Query => ({ expr, legend });

/** Every API tells the same of Redis. */
const ofQueues = (metric: string, by: string) =>
  `max by (${by}) (sum by (instance, ${by}) (${metric}{${MODEL}}))`;
const rate = (metric: string, by: string, labels = '') =>
  `sum by (${by}) (rate(${metric}${labels === '' ? '' : `{${labels}}`}[$__rate_interval]))`;
const percentiles = (metric: string, labels = '', by = '') =>
  [0.5, 0.95, 0.99].map((q) =>
    query(
      `p${q * 100}${by === '' ? '' : ` {{${by}}}`}`,
      `histogram_quantile(${q}, ${rate(`${metric}_bucket`, by === '' ? 'le' : `le, ${by}`, labels)})`,
    ),
  );

const ROWS: Row[] = [
  {
    title: 'Just now',
    panels: [
      {
        title: 'Texts waiting',
        about: 'Texts of jobs without an outcome, those worked on included.',
        unit: 'short',
        kind: 'stat',
        queries: [query('texts', `sum(${ofQueues('amulet_queued_texts', 'model')})`)],
      },
      {
        title: 'Oldest job',
        about: 'Age of the oldest job of normal priority without an outcome.',
        unit: 's',
        kind: 'stat',
        limits: [60, 300],
        queries: [query('age', `max(amulet_queue_oldest_seconds{priority="normal", ${MODEL}})`)],
      },
      {
        title: 'Batch rows left',
        about: 'Rows of running batches that have no result yet.',
        unit: 'short',
        kind: 'stat',
        queries: [query('rows', `sum(${ofQueues('amulet_queued_rows', 'model')})`)],
      },
      {
        title: 'Texts a second',
        about: 'Texts of jobs and rows of batches that were done.',
        unit: 'short',
        kind: 'stat',
        queries: [
          query(
            'texts',
            `sum(rate(amulet_texts_total{${MODEL}}[$__rate_interval])) + sum(rate(amulet_bulk_rows_total{${MODEL}}[$__rate_interval]))`,
          ),
        ],
      },
      {
        title: 'Live workers',
        about: 'Workers that gave a sign of life within the last seconds.',
        unit: 'short',
        kind: 'stat',
        queries: [query('{{model}}', `max by (model) (amulet_live_workers{${MODEL}})`)],
      },
      {
        title: 'Answers with 5xx',
        about: 'Share of all requests. The reasons are in “Problems by code”.',
        unit: 'percentunit',
        kind: 'stat',
        limits: [0.01, 0.05],
        queries: [
          query(
            'share',
            'sum(rate(amulet_http_request_seconds_count{status=~"5.."}[$__rate_interval])) / sum(rate(amulet_http_request_seconds_count[$__rate_interval]))',
          ),
        ],
      },
    ],
  },
  {
    title: 'Jobs',
    panels: [
      {
        title: 'In and out',
        about:
          'Texts that come in against those that are done. While the first line is higher, the queue grows.',
        unit: 'short',
        queries: [
          query('in, {{priority}}', rate('amulet_submitted_texts_total', 'priority', MODEL)),
          query('done, {{priority}}', rate('amulet_texts_total', 'priority', MODEL)),
        ],
      },
      {
        title: 'Queue',
        about: 'Texts without an outcome, of each model and priority.',
        unit: 'short',
        stacked: true,
        queries: [query('{{model}} {{priority}}', ofQueues('amulet_queued_texts', 'model, priority'))],
      },
      {
        title: 'Age of the oldest job',
        about: 'What callers wait for at worst.',
        unit: 's',
        queries: [
          query('{{model}} {{priority}}', `max by (model, priority) (amulet_queue_oldest_seconds{${MODEL}})`),
        ],
      },
      {
        title: 'From submission to outcome',
        about: 'Time of jobs of normal priority as a whole.',
        unit: 's',
        queries: percentiles('amulet_job_seconds', `priority="normal", ${MODEL}`),
      },
      {
        title: 'From submission to start',
        about: 'Of that, the time in the queue. If it is most of it, more workers help.',
        unit: 's',
        queries: percentiles('amulet_queue_seconds', `priority="normal", ${MODEL}`),
      },
      {
        title: 'Jobs by how they ended',
        about: 'succeeded, failed, expired, as workers settled them. Canceled ones are settled by the API.',
        unit: 'short',
        stacked: true,
        queries: [query('{{status}}', rate('amulet_jobs_total', 'status', MODEL))],
      },
    ],
  },
  {
    title: 'Requests',
    panels: [
      {
        title: 'Requests by route',
        about: 'Requests a second.',
        unit: 'reqps',
        stacked: true,
        queries: [query('{{method}} {{route}}', rate('amulet_http_request_seconds_count', 'method, route'))],
      },
      {
        title: 'Time until the answer begins',
        about: 'p95 by route. What callers asked to wait (Prefer: wait, /predict) is in it.',
        unit: 's',
        queries: [
          query(
            '{{method}} {{route}}',
            `histogram_quantile(0.95, ${rate('amulet_http_request_seconds_bucket', 'le, method, route')})`,
          ),
        ],
      },
      {
        title: 'Problems by code',
        about: 'Requests answered with an error, by the code in its body.',
        unit: 'reqps',
        stacked: true,
        queries: [query('{{code}}', rate('amulet_http_problems_total', 'code'))],
      },
      {
        title: 'Waiting callers',
        about: 'Jobs that somebody waits for just now.',
        unit: 'short',
        queries: [query('{{instance}}', 'sum by (instance) (amulet_open_waits)')],
      },
      {
        title: 'Waits that ended',
        about: 'With the outcome, or without it because their time was over.',
        unit: 'short',
        queries: [query('{{outcome}}', rate('amulet_waits_total', 'outcome'))],
      },
      {
        title: 'Uploads',
        about: 'Bytes of input for batches, uncompressed.',
        unit: 'Bps',
        queries: [query('input', 'sum(rate(amulet_upload_bytes_total[$__rate_interval]))')],
      },
    ],
  },
  {
    title: 'Model',
    panels: [
      {
        title: 'Batches inside the model',
        about: 'Time of each batch. Urgent texts wait for at most one that is running.',
        unit: 's',
        queries: percentiles('amulet_inference_seconds', MODEL),
      },
      {
        title: 'Rows of a batch',
        about: 'Mean. One row each means that there is nothing to batch.',
        unit: 'short',
        queries: [
          query(
            '{{model}}',
            `${rate('amulet_batch_rows_sum', 'model', MODEL)} / ${rate('amulet_batch_rows_count', 'model', MODEL)}`,
          ),
        ],
      },
      {
        title: 'Padding',
        about: 'Tokens that the model ran against those of texts. 1 is the best there is.',
        unit: 'short',
        queries: [
          query(
            '{{model}}',
            `${rate('amulet_batch_tokens_total', 'model', `kind="padded", ${MODEL}`)} / ${rate('amulet_batch_tokens_total', 'model', `kind="real", ${MODEL}`)}`,
          ),
        ],
      },
      {
        title: 'Idle although there is work',
        about: 'Of one model process, the share of time in which a batch was on its way to or from it.',
        unit: 'percentunit',
        queries: [query('{{instance}}', rate('amulet_model_idle_seconds_total', 'instance', MODEL))],
      },
      {
        title: 'Tokenizer',
        about: 'Time for each text.',
        unit: 's',
        queries: percentiles('amulet_tokenize_seconds', MODEL),
      },
      {
        title: 'Texts with unknown tokens',
        about:
          "Texts a second that got labels although the model's vocabulary lacks some of their tokens: emoji, other scripts.",
        unit: 'short',
        stacked: true,
        queries: [query('{{source}}', rate('amulet_unknown_texts_total', 'source', MODEL))],
      },
      {
        title: 'Model processes that died',
        about: 'Each was started again. Its rows were run once more, alone.',
        unit: 'short',
        queries: [
          query(
            '{{model}}',
            `sum by (model) (increase(amulet_model_restarts_total{${MODEL}}[$__rate_interval]))`,
          ),
        ],
      },
    ],
  },
  {
    title: 'Batches',
    panels: [
      {
        title: 'Running batches',
        about: 'Their input is whole, and they have not ended.',
        unit: 'short',
        queries: [query('{{model}}', `max by (model) (amulet_running_batches{${MODEL}})`)],
      },
      {
        title: 'Rows a second',
        about: 'Rows of batches that were finished; failed are those with an error in their place.',
        unit: 'short',
        stacked: true,
        queries: [query('{{outcome}}', rate('amulet_bulk_rows_total', 'outcome', MODEL))],
      },
      {
        title: 'Time of a chunk',
        about: 'From reading to counting it. About a second is meant.',
        unit: 's',
        queries: percentiles('amulet_bulk_chunk_seconds', MODEL),
      },
    ],
  },
  {
    title: 'Webhooks',
    panels: [
      {
        title: 'Attempts by outcome',
        about: 'Requests to receivers.',
        unit: 'reqps',
        stacked: true,
        queries: [query('{{outcome}}', rate('amulet_webhook_attempts_total', 'outcome'))],
      },
      {
        title: 'Time of an attempt',
        about: 'What receivers take to answer.',
        unit: 's',
        queries: percentiles('amulet_webhook_attempt_seconds'),
      },
      {
        title: 'What is still to be delivered',
        about:
          'Events that no webhook process has taken yet; deliveries that wait for an attempt; attempts under way.',
        unit: 'short',
        queries: [
          query('in the outbox', 'max(amulet_webhook_outbox)'),
          query('waiting', 'max(amulet_webhook_pending)'),
          query('under way', 'sum(amulet_webhook_in_flight)'),
          query('failing receivers', 'max(amulet_webhook_failing_hosts)'),
        ],
      },
    ],
  },
  {
    title: 'Redis and processes',
    panels: [
      {
        title: 'Memory of Redis',
        about: 'New work is refused above MAX_REDIS_MEMORY_PERCENT of what it may use.',
        unit: 'bytes',
        queries: [
          query('used', 'max(amulet_redis_memory_bytes)'),
          query('may use', 'max(amulet_redis_max_memory_bytes) > 0'),
        ],
      },
      {
        title: 'PING to Redis',
        about: 'As the APIs see it. With appendfsync always a slow disk shows here.',
        unit: 's',
        queries: [query('{{instance}}', 'max by (instance) (amulet_redis_ping_seconds)')],
      },
      {
        title: 'Event-loop lag',
        about: 'p99. A process that lags answers late, and its jobs may be taken for dead.',
        unit: 's',
        queries: [
          query('{{role}} {{instance}}', 'max by (role, instance) (amulet_nodejs_eventloop_lag_p99_seconds)'),
        ],
      },
      {
        title: 'CPU',
        about: 'Cores. Model processes are not in it: see the container or the machine.',
        unit: 'short',
        queries: [
          query(
            '{{role}} {{instance}}',
            'sum by (role, instance) (rate(amulet_process_cpu_seconds_total[$__rate_interval]))',
          ),
        ],
      },
      {
        title: 'Memory',
        about: 'Resident size. Model processes are not in it.',
        unit: 'bytes',
        queries: [
          query('{{role}} {{instance}}', 'max by (role, instance) (amulet_process_resident_memory_bytes)'),
        ],
      },
      {
        title: 'Open files',
        about: 'Connections are among them.',
        unit: 'short',
        queries: [query('{{role}} {{instance}}', 'max by (role, instance) (amulet_process_open_fds)')],
      },
    ],
  },
];

/** Datasource and models are chosen at the top. */
const VARIABLES = [
  { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
  {
    name: 'model',
    label: 'Model',
    type: 'query',
    datasource: { type: 'prometheus', uid: '${datasource}' },
    query: { qryType: 1, query: 'label_values(amulet_live_workers, model)', refId: 'model' },
    refresh: 2,
    multi: true,
    includeAll: true,
    allValue: '.*',
    current: { selected: true, text: ['All'], value: ['$__all'] },
  },
];

/** The whole file. */
export function dashboard(): string {
  const panels: object[] = [];
  let y = 0;
  for (const { title, panels: shown } of ROWS) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title,
      collapsed: false,
      panels: [],
      gridPos: at(0, y++, WIDTH, 1),
    });
    let x = 0;
    for (const each of shown) {
      const kind = each.kind ?? 'timeseries';
      const width = WIDTH / COLUMNS[kind];
      if (x === WIDTH) {
        x = 0;
        y += HEIGHT[kind];
      }
      panels.push({ id: panels.length + 1, gridPos: at(x, y, width, HEIGHT[kind]), ...panel(each, kind) });
      x += width;
    }
    y += HEIGHT[shown.at(-1)?.kind ?? 'timeseries'];
  }
  const whole = {
    uid: 'amulet',
    title: 'Amulet',
    description: 'Asynchronous text classification: queues, workers, batches, webhooks.',
    tags: ['amulet'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    templating: { list: VARIABLES },
    annotations: { list: [] },
    panels,
  };
  return `${JSON.stringify(whole, undefined, 2)}\n`;
}

const at = (x: number, y: number, w: number, h: number) => ({ x, y, w, h });

function panel({ title, about, unit, queries, stacked, limits }: Panel, kind: 'timeseries' | 'stat'): object {
  const datasource = { type: 'prometheus', uid: '${datasource}' };
  const steps = [
    { color: 'green', value: null },
    ...(limits ?? []).map((value, i) => ({ color: ['yellow', 'red'][i], value })),
  ];
  const thresholds = { mode: 'absolute', steps };
  const custom = {
    lineWidth: 1,
    fillOpacity: stacked ? 40 : 10,
    showPoints: 'never',
    stacking: { mode: stacked ? 'normal' : 'none' },
  };
  return {
    type: kind,
    title,
    description: about,
    datasource,
    fieldConfig: {
      defaults: { unit, min: 0, thresholds, ...(kind === 'timeseries' ? { custom } : { noValue: '–' }) },
      overrides: [],
    },
    options:
      kind === 'stat'
        ? {
            colorMode: limits ? 'value' : 'none',
            graphMode: 'area',
            reduceOptions: { calcs: ['lastNotNull'] },
          }
        : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi', sort: 'desc' } },
    targets: queries.map(({ expr, legend }, i) => ({
      refId: String.fromCharCode('A'.charCodeAt(0) + i),
      datasource,
      expr,
      legendFormat: legend,
      editorMode: 'code',
      range: true,
    })),
  };
}
