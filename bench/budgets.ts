/** Budgets of the service (ratios within one run, CPU before wall clock), each with the figure that it limits. */
import { MAX_BLOCK_MS, MAX_RESPONSE_BYTES } from './abuse.ts';
import type { Figures } from './figures.ts';

export interface Budget {
  /** Key in the JSON file. */
  name: string;
  scenario: string;
  /** Name of the figure among those of the scenario. */
  figure: string;
  /** Without either, the figure is only shown. */
  atLeast?: number;
  atMost?: number;
  /** Figure of the scenario that says why this one is missing. */
  reason?: string;
}

export const TRANSFORMERS_JS = 'transformers.js';
export const FASTAPI = 'FastAPI, a worker per core';
export const TEI = 'text-embeddings-inference, a process pinned to each core';

/** Amulet as `peers` calls it: `/predict`, which keeps nothing beyond its response, as its peers do, and jobs, on disk before they run. */
export const AMULET = 'Amulet';
export const AMULET_JOBS = 'Amulet, jobs on disk';

/** Budgets beside another server: sentences, 64 clients. */
function beside(peer: string, rate: number, p99: number): Budget[] {
  const place = { scenario: 'peers', reason: peer };
  return [AMULET, AMULET_JOBS].flatMap((ours) => {
    const pair = `sentences: ${ours} ÷ ${peer}`;
    const what = ours === AMULET ? '' : 'jobs on disk: ';
    return [
      { ...place, name: `${what}rows/s ÷ ${peer}`, figure: `${pair}, rows/s [95 %]`, atLeast: rate },
      { ...place, name: `${what}p99 ÷ ${peer}`, figure: `${pair}, p99 [95 %]`, atMost: p99 },
    ];
  });
}

export const BUDGETS: Budget[] = [
  // The road to the model: one text a job, 64 clients on the same machine.
  {
    name: 'API, CPU of a single-text job (µs)',
    scenario: 'saturate',
    figure: 'sentences: CPU of API (µs/row)',
    atMost: 160,
  },
  {
    name: 'worker, CPU of a single-text job (µs)',
    scenario: 'saturate',
    figure: 'sentences: CPU of workers (µs/row)',
    atMost: 140,
  },
  {
    name: 'Redis, CPU of a single-text job (µs)',
    scenario: 'saturate',
    figure: 'sentences: CPU of Redis (µs/row)',
    atMost: 100,
  },
  {
    name: 'Redis, commands of a single-text job',
    scenario: 'saturate',
    figure: 'sentences: commands of Redis (per row)',
    atMost: 7.5,
  },
  {
    name: 'Redis, append-only file of a single-text job (bytes)',
    scenario: 'saturate',
    figure: 'sentences: append-only file (bytes/row)',
    atMost: 850,
  },
  {
    name: "CPU of the model processes ÷ raw's model",
    scenario: 'saturate',
    figure: "sentences: model processes ÷ raw's model, median [95 %]",
    atMost: 1.08,
  },
  {
    name: 'model process idle while rows wait (%)',
    scenario: 'saturate',
    figure: 'sentences: model process idle while rows wait (%)',
    atMost: 2,
  },
  {
    name: 'padded ÷ real tokens, saturated',
    scenario: 'saturate',
    figure: 'sentences: padded ÷ real tokens',
    atMost: 1.1,
  },
  {
    name: 'RSS of API, worker, model processes and Redis under load (MB)',
    scenario: 'saturate',
    figure: 'sentences: RSS of API, worker, model processes and Redis, peak (MB)',
    atMost: 420,
  },
  { name: 'raw (rows/s)', scenario: 'saturate', figure: 'sentences: raw (rows/s)' },
  {
    name: 'rows/s ÷ raw: MiniLM',
    scenario: 'saturate',
    figure: 'sentences: ratio to raw, median [95 %]',
    atLeast: 0.65,
  },
  {
    name: 'rows/s ÷ raw: DistilBERT-sized',
    scenario: 'saturate',
    figure: 'DistilBERT-sized, sentences: ratio to raw, median [95 %]',
    atLeast: 0.85,
  },
  {
    name: '/predict p50 at 1 client − one inference (ms)',
    scenario: 'latency',
    figure: '/predict p50 − one inference (ms)',
    atMost: 2.5,
  },
  ...beside(TRANSFORMERS_JS, 1.05, 0.3),
  ...beside(FASTAPI, 1.35, 0.5),
  ...beside(TEI, 1.2, 1),

  // Batches.
  {
    name: 'backfill rows/s ÷ raw: MiniLM',
    scenario: 'backfill',
    figure: 'MiniLM: ratio to raw, median [95 %]',
    atLeast: 0.96,
  },
  {
    name: 'backfill rows/s ÷ raw: DistilBERT-sized',
    scenario: 'backfill',
    figure: 'DistilBERT-sized: ratio to raw, median [95 %]',
    atLeast: 0.96,
  },
  {
    name: 'backfill rows/s ÷ raw: 30 % repeats',
    scenario: 'backfill',
    figure: 'MiniLM, 30 % repeats: ratio to raw, median [95 %]',
    atLeast: 1.3,
  },
  {
    name: 'backfill: all CPU outside the model processes (µs/row)',
    scenario: 'backfill',
    figure: 'MiniLM: CPU outside the model processes (µs/row)',
    atMost: 45,
  },
  {
    name: 'backfill: model process idle while rows wait (%)',
    scenario: 'backfill',
    figure: 'MiniLM: model process idle while rows wait (%)',
    atMost: 1,
  },
  {
    name: 'bulk ingest (lines/s)',
    scenario: 'ingest',
    figure: 'slowest from 100,000 lines on (lines/s)',
    atLeast: 100_000,
  },

  // Beside other work, and at scale.
  {
    name: 'interactive p99 during a backfill: (p99 − idle p99) ÷ longest micro-batch',
    scenario: 'mixed',
    figure: '(p99 during a backfill − idle p99) ÷ longest micro-batch',
    atMost: 1.5,
  },
  {
    name: "worker's loop lag p99 while saturated (ms)",
    scenario: 'lag',
    figure: 'loop lag p99, worst 10 s window (ms)',
    atMost: 20,
  },
  {
    name: 'deliveries: p99 beside a hanging receiver ÷ p99 alone',
    scenario: 'webhooks',
    figure: 'p99 beside ÷ alone, median [95 %]',
    atMost: 2,
  },
  {
    name: 'jobs/s of 3 workers ÷ 1, stub inference',
    scenario: 'scale',
    figure: 'slow stub, 3 workers ÷ 1, median [95 %]',
    atLeast: 2.5,
  },
  {
    name: 'Redis per finished single job (bytes)',
    scenario: 'memory',
    figure: 'Redis per finished single job (bytes)',
    atMost: 800,
  },

  // Attacks by one key.
  {
    name: 'attacks by one key: longest block of the API (ms of CPU)',
    scenario: 'abuse',
    figure: 'longest block of the API (ms of CPU)',
    atMost: MAX_BLOCK_MS,
  },
  {
    name: 'attacks by one key: largest response (bytes)',
    scenario: 'abuse',
    figure: 'largest response (bytes)',
    atMost: MAX_RESPONSE_BYTES,
  },
  {
    name: 'attacks by one key that end a process',
    scenario: 'abuse',
    figure: 'attacks that ended a process',
    atMost: 0,
  },
  {
    name: "attacks by one key during which another key's calls fail",
    scenario: 'abuse',
    figure: "attacks during which another key's calls failed",
    atMost: 0,
  },
];

/** Scenarios that measure the budgets of the road and of batches: `npm run bench -- budgets`. */
export const MEASURE_BUDGETS = ['saturate', 'latency', 'backfill', 'peers'];

export interface Verdict {
  /** Missing when the scenario ran and has no such figure. */
  value?: number | string;
  budget?: string;
  met?: boolean;
  /** By how much it is met or missed, or why there is no value. */
  comment?: string;
}

/** The budgets of the scenarios that ran, by name. */
export function verdicts(
  report: Record<string, Figures>,
  budgets: readonly Budget[] = BUDGETS,
): Record<string, Verdict> {
  const found: Record<string, Verdict> = {};
  for (const budget of budgets) {
    const figures = report[budget.scenario];
    if (figures !== undefined) found[budget.name] = verdict(budget, figures);
  }
  return found;
}

function verdict({ figure, atLeast, atMost, reason }: Budget, figures: Figures): Verdict {
  const value = figures[figure];
  const limit = atLeast ?? atMost;
  if (limit === undefined) return value === undefined ? {} : { value };
  const budget = atLeast === undefined ? `≤ ${limit}` : `≥ ${limit}`;
  // A figure with an interval is a text that begins with its median.
  const number = Number.parseFloat(String(value));
  if (value === undefined || Number.isNaN(number)) {
    const why = reason === undefined ? undefined : figures[reason];
    return { budget, comment: why === undefined ? 'not measured' : `not measured, ${why}` };
  }
  const met = atLeast === undefined ? number <= limit : number >= limit;
  return { value, budget, met, comment: distance(number, limit) };
}

/** `by 12 %`; without a limit to take a share of, `by 3`. */
function distance(value: number, limit: number): string {
  const away = Math.abs(value - limit);
  if (away === 0) return 'exactly';
  if (limit === 0) return `by ${away}`;
  const share = (100 * away) / limit;
  return `by ${share.toFixed(share < 10 ? 1 : 0)} %`;
}

/** One line of the closing table. */
export function line(name: string, { value, budget = '', met, comment = '' }: Verdict): string {
  const judged = met === undefined ? comment : `${met ? 'met' : 'MISSED'} ${comment}`;
  return `${name.padEnd(80)} ${String(value ?? '–').padEnd(22)} ${budget.padEnd(10)} ${judged}`.trimEnd();
}
