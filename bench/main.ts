/**
 * `npm run bench -- [scenario …]`: measurements on real processes, a real Redis and `sst2-minilm`. Prints tables, and
 * which budgets (budgets.ts) are met. Compare only figures of the same run.
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { abuse, attackRows, useAttacks } from './abuse.ts';
import { useArchive } from './archive.ts';
import { archives, backfill, ingest } from './backfill.ts';
import { line, MEASURE_BUDGETS, verdicts } from './budgets.ts';
import { isQuick, useQuick } from './effort.ts';
import type { Figures } from './figures.ts';
import { lag } from './lag.ts';
import { latency } from './latency.ts';
import { memory } from './memory.ts';
import { mixed } from './mixed.ts';
import { SHIPPED } from './models.ts';
import { outage } from './outage.ts';
import { pair, useOther } from './pair.ts';
import { peers, usePeers } from './peers.ts';
import { policies } from './policies.ts';
import { raw } from './raw.ts';
import { poll, saturate } from './saturate.ts';
import { scale } from './scale.ts';
import { sessions } from './sessions.ts';
import { tokenizer, useTokenizers } from './tokenizer.ts';
import { webhooks } from './webhooks.ts';
import { provideRedis } from '../test/support/redis/redis.ts';

const SCENARIOS: Record<string, (redisUrl: string) => Promise<Figures>> = {
  raw,
  saturate,
  poll,
  policies,
  backfill,
  archives,
  ingest,
  mixed,
  latency,
  lag,
  memory,
  outage,
  scale,
  webhooks,
  sessions,
  tokenizer,
  peers,
  pair,
  abuse,
};

/** Scenarios that --quick shortens. */
const QUICK = ['saturate', 'poll', 'latency', 'backfill', 'peers', 'pair'];

const HELP = `npm run bench -- [SCENARIO …]      all scenarios without SCENARIO
  scenarios: ${Object.keys(SCENARIOS).join(', ')}
  budgets           ${MEASURE_BUDGETS.join(', ')}: what the budgets of jobs and batches need
  --json FILE       write all figures, and which budgets are met
  --quick           two rounds of few rows, in ${QUICK.join(', ')}: does it work?
  --archive FILE    texts of the bulk scenarios
  --against DIR     checkout that pair compares with
  --peer TEXT       only the peers whose names contain TEXT; may be repeated
  --attack TEXT     only the attacks of abuse whose names contain TEXT; may be repeated
  --tokenizer FOLDER    measure the tokenizer of this model folder, too; may be repeated
  --api-heap MB, --worker-heap MB      heaps of the attacked processes`;

// Processes of scenarios inherit it.
process.env.MODEL_DIR ??= SHIPPED;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h', default: false },
    json: { type: 'string' },
    quick: { type: 'boolean', default: false },
    archive: { type: 'string' },
    against: { type: 'string' },
    peer: { type: 'string', multiple: true, default: [''] },
    attack: { type: 'string', multiple: true, default: [''] },
    tokenizer: { type: 'string', multiple: true, default: [] },
    'api-heap': { type: 'string', default: '512' },
    'worker-heap': { type: 'string', default: '400' },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit();
}
useAttacks({
  only: values.attack,
  apiHeapMb: Number(values['api-heap']),
  workerHeapMb: Number(values['worker-heap']),
});
if (values.against !== undefined) useOther(values.against);
usePeers(values.peer);
useTokenizers(values.tokenizer);
if (values.quick) useQuick();
if (values.archive !== undefined) useArchive(values.archive);
const named = positionals.flatMap((name) => (name === 'budgets' ? MEASURE_BUDGETS : [name]));
const wanted = named.length > 0 ? new Set(named) : Object.keys(SCENARIOS);
const unknown = [...wanted].find((name) => !(name in SCENARIOS));
if (unknown !== undefined) {
  console.error(`unknown scenario ${unknown}; scenarios: ${Object.keys(SCENARIOS).join(', ')}`);
  process.exit(2);
}

const redis = await provideRedis();
const report: Record<string, Figures> = {};
try {
  for (const name of wanted) {
    report[name] = await SCENARIOS[name]!(redis.url);
    console.log(`\n${name}`);
    for (const [what, value] of Object.entries(report[name])) console.log(`  ${what.padEnd(44)} ${value}`);
  }
} finally {
  await redis.stop();
}
const budgets = verdicts(report);
if (Object.keys(budgets).length > 0) {
  console.log(`\nbudgets${isQuick() ? ' (--quick: none of these figures means anything)' : ''}`);
}
for (const [name, verdict] of Object.entries(budgets)) console.log(`  ${line(name, verdict)}`);
if (values.json !== undefined) {
  const machine = { cpu: cpus()[0]?.model, cores: availableParallelism(), node: process.version };
  writeFileSync(
    values.json,
    `${JSON.stringify({ machine, quick: isQuick(), budgets, scenarios: report, attacks: attackRows }, null, 2)}\n`,
  );
}
