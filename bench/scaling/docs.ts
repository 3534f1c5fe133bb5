/** The table of docs/scaling.md, made from the same figures as its chart. */
import { capacity, processesPerWorker, readable, USES } from './capacity.ts';

export const PAGE = 'docs/scaling.md';
export const CHART = 'docs/images/scaling.svg';

const START = '<!-- capacity:start -->';
const END = '<!-- capacity:end -->';
const CORES = [1, 10, 100, 1000];

/** docs/scaling.md with its table brought up to date. */
export function withCapacityTable(page: string): string {
  const start = page.indexOf(START) + START.length;
  const end = page.indexOf(END);
  if (start < START.length || end === -1) throw new Error(`${PAGE} has lost its capacity markers`);
  return `${page.slice(0, start)}\n\n${table()}\n\n${page.slice(end)}`;
}

function table(): string {
  const header = [
    'rows/s with … cores of workers',
    ...CORES.map((cores) => cores.toLocaleString('en-US')),
    'model processes a worker can feed',
  ];
  const rows = USES.map((use) => [
    use.name,
    ...CORES.map((cores) => {
      const { rowsPerSecond, apis, redisServers } = capacity(use, cores);
      return `${readable(rowsPerSecond)} (${apis} / ${redisServers})`;
    }),
    String(processesPerWorker(use)),
  ]);
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0)),
  );
  const lines = [header, widths.map((width) => '-'.repeat(width)), ...rows];
  return lines
    .map((row) => `| ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`)
    .join('\n');
}
