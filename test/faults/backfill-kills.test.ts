/**
 * `amulet backfill` while API, workers and the command itself are killed at random moments, ten times. More, and other
 * moments: CHAOS_KILLS=100 CHAOS_SEED=7 npx vitest run test/faults/backfill-kills.test.ts
 */
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { EXIT } from '../../src/cli/terminal/exit.ts';
import { CliProcess, runBackfill } from '../support/processes/cli.ts';
import { standIn } from '../support/models/stand-in.ts';
import { freePort } from '../support/redis/redis.ts';
import { Stack } from '../support/processes/stack.ts';
import { goEmotions } from '../support/inputs/texts.ts';

const KILLS = Number(process.env.CHAOS_KILLS ?? 10);
const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 1_000_000);
const ROWS = 3000;
/** Of a run, between one kill and the next. */
const MOST_MS = 1200;

/** Numbers from 0 to 1, the same for the same seed. */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

let stack: Stack;
const dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-kills-'));
beforeAll(async () => {
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    workers: 2,
    env: {
      // An undisturbed run takes some four seconds.
      ...standIn({ tokenMs: 0.07 }),
      PORT: String(await freePort()),
      LOCK_DURATION_MS: '1500',
      STALLED_INTERVAL_MS: '500',
      BULK_CHUNK_BYTES: '8192',
    },
  });
});
afterAll(async () => {
  await stack.stop();
  fs.rmSync(dir, { recursive: true, force: true });
});

const texts = goEmotions();
const textOf = (i: number): string => `${texts[i % texts.length]} ${i % 11}`;

function jsonLines(): string {
  const lines = Array.from({ length: ROWS }, (_, i) =>
    i % 50 === 49 ? 'no JSON' : JSON.stringify({ id: `r${i}`, text: textOf(i) }),
  );
  return `${lines.join('\n')}\n`;
}

function parquet(): Uint8Array {
  const rows = Array.from({ length: ROWS }, (_, i) => i);
  const columnData = [
    { name: 'id', data: rows.map((i) => `r${i}`), type: 'STRING' as const },
    { name: 'text', data: rows.map((i) => (i % 50 === 49 ? undefined : textOf(i))), type: 'STRING' as const },
    { name: 'stars', data: rows.map((i) => BigInt(i % 5)), type: 'INT64' as const },
  ];
  return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 700 }));
}

test.each([
  { from: 'in.jsonl', content: jsonLines(), to: 'jsonl', args: [] },
  { from: 'in.parquet', content: parquet(), to: 'csv.gz', args: ['--keep', 'all'] },
])(
  `${KILLS} kills, seed ${SEED}, $from to $to: the output equals that of an undisturbed run`,
  { timeout: 180_000 + KILLS * 15_000 },
  async ({ from, content, to, args }) => {
    const input = path.join(dir, from);
    fs.writeFileSync(input, content);
    const calm = path.join(dir, `calm.${to}`);
    const undisturbed = await runBackfill([input, '--url', stack.url, '--out', calm, ...args]);
    expect(undisturbed.code, undisturbed.said).toBe(EXIT.rowErrors);

    const random = pseudoRandom(SEED);
    const killed: Record<string, number> = { api: 0, worker: 0, cli: 0 };
    let kills = 0;
    for (let run = 0; kills < KILLS; run++) {
      const out = path.join(dir, `out-${run}.${to}`);
      const start = () =>
        new CliProcess([
          'backfill',
          input,
          '--url',
          stack.url,
          '--out',
          out,
          '--resume',
          '--force',
          '--delete',
          ...args,
        ]);
      let cli = start();
      while (!fs.existsSync(out)) {
        const pause = new Promise((resolve) => setTimeout(resolve, random() * MOST_MS));
        const ended = await Promise.race([cli.ended, pause.then(() => undefined)]);
        if (ended) {
          expect(ended).toMatchObject({ code: EXIT.rowErrors });
          break;
        }
        if (kills === KILLS) continue;
        kills++;
        const victim = ['api', 'worker', 'cli'][Math.floor(random() * 3)]!;
        killed[victim]!++;
        if (victim === 'api') {
          await stack.api.end('SIGKILL');
          stack.api = stack.startApi();
        } else if (victim === 'worker') {
          const which = Math.floor(random() * stack.workers.length);
          await stack.workers[which]!.end('SIGKILL');
          stack.workers[which] = stack.startWorker();
        } else {
          cli.child.kill('SIGKILL');
          await cli.ended;
          cli = start();
        }
      }
      expect((await cli.ended).code).toBe(EXIT.rowErrors);
      expect(fs.readFileSync(out).equals(fs.readFileSync(calm))).toBe(true);
    }
    expect(killed.api! + killed.worker! + killed.cli!).toBe(KILLS);
  },
);
