/** The dashboard and the alerts use only documented metrics; test/integration/metrics.test.ts compares those with the exported ones. */
import { readFileSync } from 'node:fs';
import { parser } from '@prometheus-io/lezer-promql';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { dashboard } from '../../deploy/grafana/dashboard.ts';
import { documentedMetrics } from '../support/telemetry/metrics.ts';

interface Selector {
  metric: string;
  labels: string[];
}

/** The metrics and labels that a query selects, and the labels that it groups by. @throws Error for invalid PromQL */
function read(promql: string): { selectors: Selector[]; grouped: string[] } {
  // Values as Grafana would fill in for its variables.
  const query = promql.replaceAll('$__rate_interval', '1m').replaceAll('$model', '.*');
  const selectors: Selector[] = [];
  const grouped: string[] = [];
  parser.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError) throw new Error(`no PromQL at ${node.from}: ${query}`);
      const text = query.slice(node.from, node.to);
      if (node.name === 'VectorSelector')
        selectors.push({ metric: /^\w+/.exec(text)?.[0] ?? '', labels: [] });
      if (node.name !== 'LabelName') return;
      if (node.matchContext(['GroupingLabels'])) grouped.push(text);
      else selectors.at(-1)?.labels.push(text);
    },
  });
  return { selectors, grouped };
}

const metrics = new Map(documentedMetrics().map((metric) => [metric.name, metric]));
/** Labels that Prometheus adds. */
const OF_TARGETS = ['job', 'instance'];

/** Metrics and labels of a query that no process exports. */
function unknown(promql: string): string[] {
  const { selectors, grouped } = read(promql);
  const problems: string[] = [];
  const anywhere = new Set(OF_TARGETS);
  for (const { metric, labels } of selectors) {
    const [, base = metric, suffix] = /^(.*?)(?:_(bucket|sum|count))?$/.exec(metric) ?? [];
    const found = metrics.get(metric) ?? (suffix === undefined ? undefined : metrics.get(base));
    if (metric === 'up') continue;
    if (!found || (suffix !== undefined && !metrics.has(metric) && found.type !== 'histogram')) {
      problems.push(`no metric ${metric}`);
      continue;
    }
    const own = [...(found.labels ?? []), 'role', ...OF_TARGETS];
    if (found.roles.includes('worker')) own.push('model');
    if (suffix === 'bucket') own.push('le');
    for (const label of own) anywhere.add(label);
    problems.push(
      ...labels.filter((label) => !own.includes(label)).map((label) => `${metric} has no label ${label}`),
    );
  }
  problems.push(
    ...grouped.filter((label) => !anywhere.has(label)).map((label) => `nothing to group by ${label}`),
  );
  return problems;
}

describe('mistakes in a query are found', () => {
  test.each([
    ['amulet_jobs_totals', ['no metric amulet_jobs_totals']],
    ['amulet_jobs_total{state="failed"}', ['amulet_jobs_total has no label state']],
    ['sum by (state) (amulet_jobs_total)', ['nothing to group by state']],
    ['rate(amulet_jobs_total_bucket[1m])', ['no metric amulet_jobs_total_bucket']],
    ['sum by (le, model) (rate(amulet_job_seconds_bucket{priority="low"}[1m]))', []],
  ])('%s', (promql, problems) => expect(unknown(promql)).toEqual(problems));

  test('invalid PromQL', () => {
    expect(() => unknown('sum(rate(amulet_jobs_total[5m])')).toThrow('no PromQL');
    expect(() => unknown('rate(amulet_jobs_total[5 minutes])')).toThrow('no PromQL');
  });
});

interface Dashboard {
  panels: { title: string; type: string; description?: string; targets?: { expr: string }[] }[];
  templating: { list: { query: string | { query: string } }[] };
}

describe('the dashboard', () => {
  const file = readFileSync('deploy/grafana/amulet.json', 'utf8');
  const { panels, templating } = JSON.parse(file) as Dashboard;

  test('matches dashboard.ts', () => {
    expect(file === dashboard(), 'run `npm run docs:dashboard`').toBe(true);
  });

  const shown = panels.filter(({ type }) => type !== 'row');
  test.each(shown.map((panel) => [panel.title, panel] as const))('%s', (_, { targets = [], description }) => {
    expect(description).toMatch(/\.$/);
    expect(targets.length).toBeGreaterThan(0);
    expect(targets.flatMap(({ expr }) => unknown(expr))).toEqual([]);
  });

  test('variables', () => {
    const asked = templating.list.map(({ query }) => (typeof query === 'string' ? query : query.query));
    expect(asked).toEqual(['prometheus', 'label_values(amulet_live_workers, model)']);
    expect(metrics.get('amulet_live_workers')?.labels).toEqual(['model']);
  });
});

interface Rules {
  groups: { rules: { alert: string; expr: string; annotations: Record<string, string> }[] }[];
}

describe('alerts', () => {
  const { groups } = parse(readFileSync('deploy/prometheus/alerts.yml', 'utf8')) as Rules;
  const rules = groups.flatMap((group) => group.rules);
  const { scrape_configs: jobs } = parse(readFileSync('deploy/prometheus/prometheus.yml', 'utf8')) as {
    scrape_configs: { job_name: string }[];
  };

  // A target found by name leaves no `up` behind when its last process ends, so `up == 0` would not fire.
  test('an alert fires when the last process of a role is gone', () => {
    const gone = rules.flatMap(
      ({ expr }) => /^absent\(max_over_time\(up\{job="([\w-]+)"\}/.exec(expr)?.[1] ?? [],
    );
    // The API knows what waits for workers: AmuletNoWorkers. There may be none by intention.
    expect([...gone, 'amulet-worker'].sort()).toEqual(jobs.map((job) => job.job_name).sort());
  });

  test.each(rules.map((rule) => [rule.alert, rule] as const))('%s', (_, { expr, annotations }) => {
    expect(unknown(expr)).toEqual([]);
    expect(Object.keys(annotations)).toEqual(['summary', 'action']);
    // What the summary names is there when the alert fires.
    for (const [, label] of annotations.summary!.matchAll(/\$labels\.(\w+)/g))
      expect(expr).toMatch(new RegExp(`\\b${label}\\b|^up\\b`));
  });
});
