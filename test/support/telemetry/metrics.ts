/** Metrics as processes export them, and as docs/metrics.md lists them. */
import { readFileSync } from 'node:fs';

export interface Metric {
  name: string;
  type: string;
  help: string;
  /** Names, sorted; without those that every metric of a process has. Undefined: there was no sample to see them on. */
  labels: string[] | undefined;
  /** Of the processes that have it. */
  roles: string[];
}

/** Labels of everything that a process tells. A worker's `model` is one, an API's is not. */
const COMMON: Record<string, string[]> = { api: ['role'], worker: ['role', 'model'], webhooks: ['role'] };
/** What a sample of a histogram or summary has, and its metric does not. */
const OF_SAMPLES = ['le', 'quantile'];

/** @param text in Prometheus' text format */
export function parseMetrics(role: string, text: string): Metric[] {
  const metrics = new Map<string, Metric>();
  const own = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const [, kind, described = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind !== undefined) {
      const metric = metrics.get(described) ?? {
        name: described,
        type: '',
        help: '',
        labels: [],
        roles: [role],
      };
      metrics.set(described, kind === 'HELP' ? { ...metric, help: rest } : { ...metric, type: rest });
      continue;
    }
    const [, sample = '', labels = ''] = /^([a-z_]\w*)(?:\{(.*)\})? \S+$/i.exec(line) ?? [];
    const name = metrics.has(sample) ? sample : sample.replace(/_(bucket|sum|count)$/, '');
    const seen = own.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) {
      if (!OF_SAMPLES.includes(label) && !COMMON[role]!.includes(label)) seen.add(label);
    }
    own.set(name, seen);
  }
  return [...metrics.values()].map((metric) => ({
    ...metric,
    labels: sorted(own.get(metric.name)),
  }));
}

/** One entry for each name. */
export function mergeMetrics(all: readonly Metric[]): Metric[] {
  const merged = new Map<string, Metric>();
  for (const metric of all) {
    const known = merged.get(metric.name);
    const roles = [...new Set([...(known?.roles ?? []), ...metric.roles])];
    const labels =
      (known?.labels ?? metric.labels)
        ? new Set([...(known?.labels ?? []), ...(metric.labels ?? [])])
        : undefined;
    merged.set(metric.name, { ...metric, roles, labels: sorted(labels) });
  }
  return [...merged.values()].sort(byName);
}

const byName = (a: Metric, b: Metric) => (a.name < b.name ? -1 : 1);
const sorted = (labels: Set<string> | undefined) => labels && [...labels].sort();

const ROW = /^\| `(amulet_\w+)` +\| (\w+) +\| (.*?) +\| (.*?) +\| (.*?) +\|$/;

/** As docs/metrics.md has it. */
export function documentedMetrics(): Metric[] {
  const lines = readFileSync('docs/metrics.md', 'utf8').split('\n');
  const listed = lines.flatMap((line) => {
    const [, name, type, roles, labels, help] = ROW.exec(line) ?? [];
    if (name === undefined || type === undefined || help === undefined) return [];
    const split = (list = '') => (list === '' ? [] : list.replaceAll('`', '').split(', '));
    return [{ name, type, help: help.replaceAll('\\|', '|'), labels: split(labels), roles: split(roles) }];
  });
  return listed.sort(byName);
}

/** A row of the table in docs/metrics.md; Prettier aligns it. */
export function metricRow({ name, type, roles, labels, help }: Metric): string {
  const list = (labels ?? []).map((label) => `\`${label}\``).join(', ');
  return `| \`${name}\` | ${type} | ${roles.join(', ')} | ${list} | ${help.replaceAll('|', '\\|')} |`;
}
