/** Makes amulet.json, the dashboard for Grafana 11 and newer: rows of panels, each with its PromQL. */

interface Query {
  expr: string;
  /** Name of each line in the panel; `{{model}}` is replaced by the label. */
  legend: string;
}

interface Panel {
  title: string;
  /** Description shown in Grafana: what the panel shows, and what to do about it. */
  about: string;
  /** Grafana's name of the unit: `s`, `bytes`, `reqps`, `percentunit`, … */
  unit: string;
  queries: Query[];
  kind?: 'timeseries' | 'stat';
  stacked?: boolean;
  /** Thresholds of a stat: yellow from the first value on, red from the second. */
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

/** Every API instance exports the same figures about Redis, so the instances are not added up. */
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
    title: 'Now',
    panels: [
      {
        title: 'Texts waiting',
        about: 'Texts of queued and running jobs.',
        unit: 'short',
        kind: 'stat',
        queries: [query('texts', `sum(${ofQueues('amulet_queued_texts', 'model')})`)],
      },
      {
        title: 'Oldest job',
        about: 'Age of the oldest unfinished job of normal priority.',
        unit: 's',
        kind: 'stat',
        limits: [60, 300],
        queries: [query('age', `max(amulet_queue_oldest_seconds{priority="normal", ${MODEL}})`)],
      },
      {
        title: 'Batch rows left',
        about: 'Rows of running batches without a result.',
        unit: 'short',
        kind: 'stat',
        queries: [query('rows', `sum(${ofQueues('amulet_queued_rows', 'model')})`)],
      },
      {
        title: 'Texts a second',
        about: 'Texts of jobs and rows of batches finished per second.',
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
        about: 'Workers whose last heartbeat is at most a few seconds old.',
        unit: 'short',
        kind: 'stat',
        queries: [query('{{model}}', `max by (model) (amulet_live_workers{${MODEL}})`)],
      },
      {
        title: 'Share of 5xx responses',
        about: 'Share of all requests. “Problems by code” shows the error codes.',
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
          'Texts submitted and texts done, per second. While more are submitted than done, the queue grows.',
        unit: 'short',
        queries: [
          query('in, {{priority}}', rate('amulet_submitted_texts_total', 'priority', MODEL)),
          query('done, {{priority}}', rate('amulet_texts_total', 'priority', MODEL)),
        ],
      },
      {
        title: 'Queue',
        about: 'Texts of unfinished jobs, by model and priority.',
        unit: 'short',
        stacked: true,
        queries: [query('{{model}} {{priority}}', ofQueues('amulet_queued_texts', 'model, priority'))],
      },
      {
        title: 'Age of the oldest job',
        about: 'The longest that a caller is waiting.',
        unit: 's',
        queries: [
          query('{{model}} {{priority}}', `max by (model, priority) (amulet_queue_oldest_seconds{${MODEL}})`),
        ],
      },
      {
        title: 'From submission to outcome',
        about: 'Total time of jobs of normal priority.',
        unit: 's',
        queries: percentiles('amulet_job_seconds', `priority="normal", ${MODEL}`),
      },
      {
        title: 'From submission to start',
        about: 'Time in the queue. If it is most of the total time, add workers.',
        unit: 's',
        queries: percentiles('amulet_queue_seconds', `priority="normal", ${MODEL}`),
      },
      {
        title: 'Finished jobs by status',
        about:
          'Jobs that workers settled: succeeded, failed, expired. The API settles canceled jobs, which are not counted here.',
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
        about: 'Requests per second.',
        unit: 'reqps',
        stacked: true,
        queries: [query('{{method}} {{route}}', rate('amulet_http_request_seconds_count', 'method, route'))],
      },
      {
        title: 'Time to first byte',
        about: 'p95 by route. It includes the time that callers asked to wait (Prefer: wait, /predict).',
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
        about: 'Requests answered with an error, by the error code in the response.',
        unit: 'reqps',
        stacked: true,
        queries: [query('{{code}}', rate('amulet_http_problems_total', 'code'))],
      },
      {
        title: 'Open waits',
        about: 'Requests that hold their response until a job ends.',
        unit: 'short',
        queries: [query('{{instance}}', 'sum by (instance) (amulet_open_waits)')],
      },
      {
        title: 'Ended waits by outcome',
        about: 'Waits that returned the final job, and waits that timed out.',
        unit: 'short',
        queries: [query('{{outcome}}', rate('amulet_waits_total', 'outcome'))],
      },
      {
        title: 'Uploads',
        about: 'Uncompressed bytes of batch input per second.',
        unit: 'Bps',
        queries: [query('input', 'sum(rate(amulet_upload_bytes_total[$__rate_interval]))')],
      },
    ],
  },
  {
    title: 'Model',
    panels: [
      {
        title: 'Inference time of a micro-batch',
        about: 'Time in the model. A text of a job waits for at most one running micro-batch.',
        unit: 's',
        queries: percentiles('amulet_inference_seconds', MODEL),
      },
      {
        title: 'Rows per micro-batch',
        about: 'Mean. A value of 1 means that no two texts wait at the same time.',
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
        about: 'Tokens that the model ran, divided by the tokens of the texts. 1 means no padding.',
        unit: 'short',
        queries: [
          query(
            '{{model}}',
            `${rate('amulet_batch_tokens_total', 'model', `kind="padded", ${MODEL}`)} / ${rate('amulet_batch_tokens_total', 'model', `kind="real", ${MODEL}`)}`,
          ),
        ],
      },
      {
        title: 'Idle model process while texts wait',
        about: 'Share of the time that a model process waits for a micro-batch on its way to or from it.',
        unit: 'percentunit',
        queries: [query('{{instance}}', rate('amulet_model_idle_seconds_total', 'instance', MODEL))],
      },
      {
        title: 'Repeated texts',
        about:
          'Texts per second that did not run: their result was kept (hit), or an equal text was in flight (shared). Beside them those that ran (miss).',
        unit: 'short',
        stacked: true,
        queries: [query('{{outcome}}', rate('amulet_result_cache_rows_total', 'outcome', MODEL))],
      },
      {
        title: 'Tokenizer',
        about: 'Time per text.',
        unit: 's',
        queries: percentiles('amulet_tokenize_seconds', MODEL),
      },
      {
        title: 'Texts with unknown tokens',
        about:
          'Texts per second that got labels although the model cannot read some of their tokens, such as emoji or other scripts.',
        unit: 'short',
        stacked: true,
        queries: [query('{{source}}', rate('amulet_unknown_texts_total', 'source', MODEL))],
      },
      {
        title: 'Crashes of model processes',
        about: 'The worker restarted each process and ran its rows again, one at a time.',
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
        about: 'Batches with a complete input that have not ended.',
        unit: 'short',
        queries: [query('{{model}}', `max by (model) (amulet_running_batches{${MODEL}})`)],
      },
      {
        title: 'Rows a second',
        about: 'Finished rows of batches. A failed row has an error in place of labels.',
        unit: 'short',
        stacked: true,
        queries: [query('{{outcome}}', rate('amulet_bulk_rows_total', 'outcome', MODEL))],
      },
      {
        title: 'Time of a chunk',
        about: 'From reading a chunk to recording its results. The target is about one second.',
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
        about: 'Requests to receivers per second.',
        unit: 'reqps',
        stacked: true,
        queries: [query('{{outcome}}', rate('amulet_webhook_attempts_total', 'outcome'))],
      },
      {
        title: 'Time of an attempt',
        about: 'Response time of receivers.',
        unit: 's',
        queries: percentiles('amulet_webhook_attempt_seconds'),
      },
      {
        title: 'Pending deliveries',
        about:
          'Events that no webhook process has picked up, deliveries that wait for an attempt, attempts in flight, and hosts that fail.',
        unit: 'short',
        queries: [
          query('in the outbox', 'max(amulet_webhook_outbox)'),
          query('waiting', 'max(amulet_webhook_pending)'),
          query('in flight', 'sum(amulet_webhook_in_flight)'),
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
        about: 'New work is refused above MAX_REDIS_MEMORY_PERCENT of maxmemory.',
        unit: 'bytes',
        queries: [
          query('used', 'max(amulet_redis_memory_bytes)'),
          query('maxmemory', 'max(amulet_redis_max_memory_bytes) > 0'),
        ],
      },
      {
        title: 'PING to Redis',
        about: 'Round trip from each API. With appendfsync always a slow disk shows here.',
        unit: 's',
        queries: [query('{{instance}}', 'max by (instance) (amulet_redis_ping_seconds)')],
      },
      {
        title: 'Event-loop lag',
        about: 'p99. A process that lags answers late, and other workers may take over its jobs.',
        unit: 's',
        queries: [
          query('{{role}} {{instance}}', 'max by (role, instance) (amulet_nodejs_eventloop_lag_p99_seconds)'),
        ],
      },
      {
        title: 'CPU',
        about: 'Cores. Model processes are not counted: see the container or the machine.',
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
        about: 'Resident size. Model processes are not counted.',
        unit: 'bytes',
        queries: [
          query('{{role}} {{instance}}', 'max by (role, instance) (amulet_process_resident_memory_bytes)'),
        ],
      },
      {
        title: 'Open files',
        about: 'File descriptors, connections included.',
        unit: 'short',
        queries: [query('{{role}} {{instance}}', 'max by (role, instance) (amulet_process_open_fds)')],
      },
    ],
  },
];

/** Selectors at the top of the dashboard. */
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

/** The text of amulet.json. */
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
