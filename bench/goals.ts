/** Goals of the service (ratios within one run, CPU before wall clock), each with the figure that it bounds. */
import { MAX_BLOCK_MS, MAX_RESPONSE_BYTES } from './abuse.ts';
import type { Figures } from './figures.ts';

interface Goal {
  /** Key in the JSON file. */
  name: string;
  scenario: string;
  figure: string;
  atLeast?: number;
  atMost?: number;
}

const GOALS: Goal[] = [
  { name: 'raw (rows/s)', scenario: 'saturate', figure: 'sentences: raw (rows/s)' },
  {
    name: 'submit-and-wait rows/s, 64 clients on the same machine, ÷ raw: MiniLM',
    scenario: 'saturate',
    figure: 'sentences: ratio to raw, median [95 %]',
    atLeast: 0.7,
  },
  {
    name: 'submit-and-wait rows/s, 64 clients on the same machine, ÷ raw: DistilBERT-sized',
    scenario: 'saturate',
    figure: 'DistilBERT-sized, sentences: ratio to raw, median [95 %]',
    atLeast: 0.85,
  },
  {
    name: 'backfill rows/s ÷ raw: MiniLM',
    scenario: 'backfill',
    figure: 'MiniLM: ratio to raw, median [95 %]',
    atLeast: 0.92,
  },
  {
    name: 'backfill rows/s ÷ raw: DistilBERT-sized',
    scenario: 'backfill',
    figure: 'DistilBERT-sized: ratio to raw, median [95 %]',
    atLeast: 0.95,
  },
  {
    name: 'backfill: all CPU outside the model processes (µs/row)',
    scenario: 'backfill',
    figure: 'MiniLM: CPU outside the model processes (µs/row)',
    atMost: 80,
  },
  {
    name: 'bulk ingest (lines/s)',
    scenario: 'ingest',
    figure: 'slowest from 100,000 lines on (lines/s)',
    atLeast: 100_000,
  },
  {
    name: 'padded ÷ real tokens, saturated',
    scenario: 'saturate',
    figure: 'sentences: padded ÷ real tokens',
    atMost: 1.1,
  },
  {
    name: 'model process idle while rows wait (%)',
    scenario: 'saturate',
    figure: 'sentences: model process idle while rows wait (%)',
    atMost: 2,
  },
  {
    name: '/predict p50 at 1 client − one inference (ms)',
    scenario: 'latency',
    figure: '/predict p50 − one inference (ms)',
    atMost: 4,
  },
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

export interface Reached {
  value: number | string;
  goal?: string;
  met?: boolean;
}

/** The goals for which this run has a figure, by name. */
export function reached(report: Record<string, Figures>): Record<string, Reached> {
  const found: Record<string, Reached> = {};
  for (const { name, scenario, figure, atLeast, atMost } of GOALS) {
    const value = report[scenario]?.[figure];
    if (value === undefined) continue;
    // A figure with an interval is a text that begins with its median.
    const number = Number.parseFloat(String(value));
    found[name] = {
      value,
      ...(atLeast === undefined ? {} : { goal: `≥ ${atLeast}`, met: number >= atLeast }),
      ...(atMost === undefined ? {} : { goal: `≤ ${atMost}`, met: number <= atMost }),
    };
  }
  return found;
}
