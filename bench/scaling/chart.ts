/** Chart of rows a second by cores of workers, with one Redis: an SVG for light and dark pages. */
import { capacity, limitOfOneRedis, readable, USES, type Use } from './capacity.ts';

const WIDTH = 840;
const HEIGHT = 460;
const PLOT = { left: 84, right: WIDTH - 210, top: 56, bottom: HEIGHT - 56 };
/** Powers of ten at which the axes begin and end. */
const CORES = { from: 0, to: 3 };
const ROWS = { from: 2, to: 6 };
/** Between a line and its name. */
const GAP = 8;
const FONT_SIZE = 13;

const STYLE = `
  text { font: ${FONT_SIZE}px system-ui, sans-serif; fill: #3d3d3a; }
  .title { font-size: 16px; font-weight: 600; fill: #141413; }
  .grid { stroke: #e3e2dc; }
  .line { fill: none; stroke-width: 2.5; }
  .MiniLM { stroke: #1f6fb4; } text.MiniLM, circle.MiniLM { stroke: none; fill: #1f6fb4; }
  .DistilBERT { stroke: #b4531f; } text.DistilBERT, circle.DistilBERT { stroke: none; fill: #b4531f; }
  @media (prefers-color-scheme: dark) {
    text { fill: #c9c7be; } .title { fill: #f0eee6; } .grid { stroke: #3a3a37; }
    .MiniLM { stroke: #6fb3ec; } text.MiniLM, circle.MiniLM { fill: #6fb3ec; }
    .DistilBERT { stroke: #eb9a6c; } text.DistilBERT, circle.DistilBERT { fill: #eb9a6c; }
  }`;

/** A place on a logarithmic axis, in pixels. */
const place = (value: number, powers: { from: number; to: number }, start: number, end: number): number =>
  start + ((Math.log10(value) - powers.from) / (powers.to - powers.from)) * (end - start);
const x = (cores: number) => place(cores, CORES, PLOT.left, PLOT.right);
const y = (rows: number) => place(rows, ROWS, PLOT.bottom, PLOT.top);
const px = (value: number) => String(Math.round(value * 10) / 10);

const powersOfTen = ({ from, to }: { from: number; to: number }) =>
  Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i));

export function chart(): string {
  const vertical = powersOfTen(CORES).map(
    (cores) =>
      `<line class="grid" x1="${px(x(cores))}" x2="${px(x(cores))}" y1="${PLOT.top}" y2="${PLOT.bottom}"/>` +
      `<text x="${px(x(cores))}" y="${PLOT.bottom + FONT_SIZE + GAP}" text-anchor="middle">${cores.toLocaleString('en-US')}</text>`,
  );
  const horizontal = powersOfTen(ROWS).map(
    (rows) =>
      `<line class="grid" x1="${PLOT.left}" x2="${PLOT.right}" y1="${px(y(rows))}" y2="${px(y(rows))}"/>` +
      `<text x="${PLOT.left - GAP}" y="${px(y(rows) + FONT_SIZE / 3)}" text-anchor="end">${rows.toLocaleString('en-US')}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="title">`,
    `<title id="title">Rows a second by cores of workers, until one Redis is full</title>`,
    `<style>${STYLE}\n</style>`,
    `<text class="title" x="${PLOT.left}" y="28">Rows a second, until one Redis is full</text>`,
    ...vertical,
    ...horizontal,
    `<text x="${(PLOT.left + PLOT.right) / 2}" y="${HEIGHT - GAP}" text-anchor="middle">cores of workers</text>`,
    ...USES.map(line),
    '</svg>\n',
  ].join('\n');
}

/** Line of one use: rises to the limit of one Redis, then stays level. */
function line(use: Use): string {
  const [model] = use.name.split(',');
  const limit = limitOfOneRedis(use);
  const points: [number, number][] = [
    [1, capacity(use, 1).rowsPerSecond],
    [limit.cores, limit.rowsPerSecond],
    [10 ** CORES.to, limit.rowsPerSecond],
  ];
  const path = points.map(([cores, rows]) => `${px(x(cores))},${px(y(rows))}`).join(' ');
  const [bend, level] = [x(limit.cores), y(limit.rowsPerSecond)];
  // The lines of the two models are close to each other: one label stands above its line, the other below.
  const upper = model === 'MiniLM';
  const cores = `x="${px(bend + GAP)}" y="${px(level + (upper ? -GAP / 2 : FONT_SIZE + GAP / 2))}"`;
  const name = `x="${PLOT.right + GAP}" y="${px(level + FONT_SIZE / 3 + (upper ? -2 : 2))}"`;
  return [
    `<polyline class="line ${model}" points="${path}"/>`,
    `<circle class="${model}" cx="${px(bend)}" cy="${px(level)}" r="4.5"/>`,
    `<text class="${model}" ${cores}>${readable(limit.cores)} cores</text>`,
    `<text class="${model}" ${name}>${use.name}: ${readable(limit.rowsPerSecond)}</text>`,
  ].join('\n');
}
