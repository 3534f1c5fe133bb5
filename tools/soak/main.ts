/**
 * `npm run soak -- --minutes 30 [--seed N] [--report FILE]`: all three uses at once on real processes, while another key attacks
 * them and faults follow each other; then all acknowledged work is read back. Exit status 1 when anything is wrong.
 */
import { writeFileSync } from 'node:fs';
import { exitWithUsage, readArguments } from '../arguments.ts';
import { seeded } from '../../test/support/inputs/random.ts';
import { goEmotions } from '../../test/support/inputs/texts.ts';
import { Cluster } from './cluster.ts';
import { haveFaults } from './faults.ts';
import { Hostile } from './hostile.ts';
import { Load } from './load.ts';
import { Samples } from './samples.ts';
import { verify } from './verify.ts';
import { Violations } from './violations.ts';

const USAGE = 'usage: npm run soak -- [--minutes 5] [--seed N] [--report FILE]';

const { values } = readArguments(USAGE, {
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string' },
    report: { type: 'string' },
  },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) exitWithUsage(USAGE, `--minutes ${values.minutes}: must be a number above 0`);
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const random = seeded(seed);
const say = (line: string) => process.stdout.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`);

say(`${minutes} minutes, seed ${seed}`);
const violations = new Violations();
const cluster = await Cluster.start(Math.ceil(minutes * 60) + 1200);
const samples = new Samples(
  () => new Map(['api-steady', 'worker-steady'].map((name) => [name, cluster.get(name).child])),
);
const load = new Load({
  urls: () => cluster.apiUrls,
  key: cluster.keys.load,
  receiverUrl: cluster.receiver.url(),
  texts: goEmotions(),
  random: Math.random,
  violations,
});
const hostile = new Hostile({
  urls: () => cluster.apiUrls,
  key: cluster.keys.hostile,
  random: Math.random,
  violations,
});
load.start();
hostile.start();
const counts = await haveFaults(cluster, Date.now() + minutes * 60_000, random, say);
say('faults are over; waiting for unfinished work');
await hostile.stop();
await load.stop();
samples.stop();
await verify(cluster, load, violations);
const summary = samples.summary();
await cluster.stop();

const faults = [...counts.values()].reduce((sum, count) => sum + count, 0);
const report = [
  `| | |`,
  `|---|---|`,
  `| minutes, seed | ${minutes}, ${seed} |`,
  `| faults | ${faults}: ${[...counts].map(([name, count]) => `${name} ${count}`).join(', ')} |`,
  `| attacks with another key | ${hostile.total}, of ${hostile.counts.size} kinds |`,
  `| acknowledged | ${load.jobs.size} jobs, ${load.batches.size} batches with ${[...load.batches.values()].reduce((sum, { rows }) => sum + rows.length, 0)} rows |`,
  `| \`/predict\` answered | ${load.predictions} |`,
  `| repeated calls | ${load.repeats} |`,
  `| webhooks received | ${cluster.receiver.received.length} |`,
  ...summary.map(
    ({ name, early, late, perHour }) =>
      `| ${name} | resident ${early.rssMb.toFixed(0)} → ${late.rssMb.toFixed(0)} MB (${perHour('rssMb').toFixed(1)} MB/h), heap after garbage collection ${early.heapMb.toFixed(1)} → ${late.heapMb.toFixed(1)} MB (${perHour('heapMb').toFixed(1)} MB/h), ${early.files} → ${late.files} open files |`,
  ),
  `| violations | ${violations.total} |`,
].join('\n');
process.stdout.write(
  `\n${report}\n${violations
    .lines()
    .map((line) => `- ${line}\n`)
    .join('')}`,
);
if (values.report !== undefined) writeFileSync(values.report, `${report}\n`);
process.exit(violations.total === 0 ? 0 : 1);
