/** `npm run docs:scaling`: draws the chart and writes the table of docs/scaling.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { chart } from './chart.ts';
import { CHART, PAGE, withCapacityTable } from './docs.ts';

writeFileSync(PAGE, withCapacityTable(readFileSync(PAGE, 'utf8')));
writeFileSync(CHART, chart());
