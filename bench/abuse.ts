/**
 * Effect of each attack by one key (test/support/attacks), a table row each: longest block of the API's event loop, size of
 * responses, memory, CPU, data left in Redis and on the disk, and latency of another key meanwhile. Each attack runs on a fresh
 * stack with little memory, so a process that dies affects only that row.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { AttackedStack, askLoop } from '../test/support/attacks/attacked-stack.ts';
import { Attacker, type Outcome } from '../test/support/attacks/attacker.ts';
import { ATTACKS, type Attack } from '../test/support/attacks/attacks.ts';
import type { BystanderOptions, Observed } from './abuse/bystander.ts';
import { cpuSeconds } from './cpu.ts';
import type { Figures } from './figures.ts';
import { percentile, round } from './statistics.ts';

export interface AbuseOptions {
  /** Only attacks whose names contain one of these. */
  only: readonly string[];
  apiHeapMb: number;
  workerHeapMb: number;
}

/** Budgets of every attack. */
export const MAX_BLOCK_MS = 300;
export const MAX_RESPONSE_BYTES = 65_536;

const ALONE_MS = 2000;
const SAMPLE_MS = 50;
/** Redis is read in one of so many samples. */
const REDIS_EVERY = 5;
/** Longest wait for a blocked process after the attack, ms. */
const SETTLE_MS = 30_000;

let options: AbuseOptions = { only: [''], apiHeapMb: 512, workerHeapMb: 400 };

export function useAttacks(given: Partial<AbuseOptions>): void {
  options = { ...options, ...given };
}

/** All figures, by the name of the attack. */
export const attackRows: Record<string, Figures> = {};

export async function abuse(): Promise<Figures> {
  const attacks = ATTACKS.filter(({ name }) => options.only.some((text) => name.includes(text)));
  console.log(`\n${COLUMNS.map(([title, width]) => title.padEnd(width)).join(' ')}`);
  for (const attack of attacks) {
    const row = await withStack(attack).catch((error: unknown): Figures => ({
      misses: `not measured: ${String(error)}`,
      ended: '',
    }));
    attackRows[attack.name] = row;
    console.log(line(attack.name, row));
  }
  const rows = Object.values(attackRows);
  const largest = (figure: string) => Math.max(...rows.map((row) => Number(row[figure])));
  const countWith = (figure: string) => rows.filter((row) => Number(row[figure] ?? 0) > 0).length;
  return {
    attacks: rows.length,
    'longest block of the API (ms of CPU)': largest('block (ms of CPU)'),
    'largest response (bytes)': largest('largest response (bytes)'),
    'attacks that ended a process': rows.filter(({ ended }) => ended !== '').length,
    'attacks without a response in time': countWith('no response'),
    "attacks during which another key's calls failed": countWith('others: failed'),
    'attacks that miss a goal': rows.filter(({ misses }) => misses !== '').length,
  };
}

const COLUMNS: [title: string, width: number, value: (row: Figures) => number | string | undefined][] = [
  ['attack', 70, () => ''],
  ['responses', 26, (row) => row.responses],
  ['bytes', 10, (row) => row['largest response (bytes)']],
  ['block CPU ms', 12, (row) => row['block (ms of CPU)']],
  ['block ms', 9, (row) => row['block (ms)']],
  ['API MB', 7, (row) => row['API peak (MB)']],
  ['API CPU ms', 10, (row) => row['API CPU (ms)']],
  ['worker MB', 9, (row) => row['worker peak (MB)']],
  ['worker block', 12, (row) => row['worker: block (ms of CPU)']],
  ['worker CPU', 10, (row) => row['worker CPU (ms)']],
  ['Redis MB', 8, (row) => row['Redis peak (MB)']],
  ['Redis left MB', 13, (row) => row['Redis left (MB)']],
  ['disk left MB', 12, (row) => row['disk left (MB)']],
  ['alone p50/p99', 14, (row) => `${row['alone: p50 (ms)']}/${row['alone: p99 (ms)']}`],
  ['beside p50/p99', 15, (row) => `${row['others: p50 (ms)']}/${row['others: p99 (ms)']}`],
  [
    'failed',
    26,
    (row) => `${row['others: failed']}${row['others: reasons'] === '' ? '' : ` (${row['others: reasons']})`}`,
  ],
  ['misses', 0, (row) => row.misses],
];

const line = (name: string, row: Figures): string =>
  COLUMNS.map(([title, width, value]) => String(title === 'attack' ? name : value(row)).padEnd(width)).join(
    ' ',
  );

async function withStack(attack: Attack): Promise<Figures> {
  const disk = attack.stack?.diskMb === undefined ? undefined : mountDisk(attack.stack.diskMb);
  if (disk === 'none') return { misses: '', responses: 'skipped: cannot mount a disk', ended: '' };
  const stack = await AttackedStack.start({
    apiHeapMb: options.apiHeapMb,
    workerHeapMb: options.workerHeapMb,
    ...attack.stack,
    disk,
  });
  try {
    return await measure(attack, stack);
  } finally {
    await stack.stop().catch(() => {});
    if (disk !== undefined) unmountDisk(disk);
  }
}

async function measure(attack: Attack, stack: AttackedStack): Promise<Figures> {
  const bystander = await Bystander.start({
    url: stack.url,
    key: stack.keys.alice,
    port: stack.otherPort,
    waitsFor: attack.others ?? 'predict',
  });
  try {
    bystander.begin();
    await sleep(ALONE_MS);
    // The first calls run cold code.
    await bystander.end();
    bystander.begin();
    await sleep(ALONE_MS);
    const alone = await bystander.end();

    const redisBefore = await stack.redisBytes();
    const diskBefore = stack.blobBytes();
    const watch = new Watch(stack);
    await watch.begin();
    bystander.begin();
    const start = performance.now();
    const { outcomes, seconds } = await attackOnce(attack, stack);
    await sleep(1000);
    const others = await bystander.end();
    await settled(stack);
    const watched = await watch.end();
    const redisLeft = (await stack.redisBytes()) - redisBefore;
    const ended = await stack.ended();
    const figures: Figures = {
      seconds: round(seconds, 1),
      responses: summary(outcomes),
      'no response': outcomes.filter(({ status }) => status === 'no answer').length,
      'largest response (bytes)': Math.max(0, ...outcomes.map(({ bytes }) => bytes)),
      ...watched,
      'Redis left (MB)': megabytes(redisLeft),
      'disk left (MB)': megabytes(stack.blobBytes() - diskBefore),
      'alone: p50 (ms)': round(percentile(alone.ms, 50), 1),
      'alone: p99 (ms)': round(percentile(alone.ms, 99), 1),
      'others: calls': others.ms.length,
      'others: p50 (ms)': round(percentile(others.ms, 50), 1),
      'others: p99 (ms)': round(percentile(others.ms, 99), 1),
      'others: longest (ms)': round(Math.max(0, ...others.ms), 1),
      'others: failed': Object.values(others.failures).reduce((sum, count) => sum + count, 0),
      'others: reasons': Object.entries(others.failures)
        .map(([reason, count]) => `${reason} × ${count}`)
        .join(', '),
      ended: ended.join(', '),
      'until settled (s)': round((performance.now() - start) / 1000, 1),
    };
    return { ...figures, misses: misses(figures) };
  } finally {
    await bystander.stop();
  }
}

/** Goals that the figures of an attack miss. */
function misses(figures: Figures): string {
  const block = Number(figures['block (ms of CPU)']);
  const found = [
    block > MAX_BLOCK_MS || Number.isNaN(block) ? 'block' : '',
    Number(figures['largest response (bytes)']) > MAX_RESPONSE_BYTES ? 'response' : '',
    Number(figures['no response']) > 0 ? 'no response' : '',
    Number(figures['others: failed']) > 0 ? 'others failed' : '',
    figures.ended === '' ? '' : `${figures.ended} ended`,
  ];
  return found.filter((each) => each !== '').join(', ');
}

async function attackOnce(
  attack: Attack,
  stack: AttackedStack,
): Promise<{ outcomes: readonly Outcome[]; seconds: number }> {
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), attack.seconds * 1000);
  stack.api.child.once('exit', () => over.abort());
  const attacker = new Attacker(stack, stack.keys.mallory, over.signal);
  const start = performance.now();
  try {
    // An attack whose next step needs a response that does not come ends here.
    await attacker.attack(attack.run);
    return { outcomes: attacker.outcomes, seconds: (performance.now() - start) / 1000 };
  } finally {
    clearTimeout(timer);
    over.abort();
    attacker.release();
  }
}

/** Waits until the API responds and its CPU is idle. */
async function settled(stack: AttackedStack): Promise<void> {
  const end = performance.now() + SETTLE_MS;
  while (stack.api.running && performance.now() < end) {
    const answered = await fetch(`${stack.url}/health/live`, { signal: AbortSignal.timeout(5000) }).then(
      () => true,
      () => false,
    );
    const before = cpuOf(stack.api.child.pid);
    await sleep(1000);
    if (answered && cpuOf(stack.api.child.pid) - before < 0.3) return;
  }
}

function cpuOf(pid: number | undefined): number {
  try {
    return cpuSeconds(pid ?? 0);
  } catch {
    return Number.NaN;
  }
}

const megabytes = (bytes: number) => round(bytes / 1e6, 2);

/** `422 × 3, held × 60` */
function summary(outcomes: readonly Outcome[]): string {
  const counts = new Map<Outcome['status'], number>();
  for (const { status } of outcomes) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts]
    .map(([status, count]) => (count === 1 ? `${status}` : `${status} × ${count}`))
    .join(', ');
}

/** Records memory, CPU and blocked event loops of the processes during an attack. */
class Watch {
  readonly #stack: AttackedStack;
  readonly #peakKb: Record<string, number> = {};
  readonly #cpuS: Record<string, number> = {};
  readonly #cpuBefore: Record<string, number> = {};
  #redisPeak = 0;
  #looks = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(stack: AttackedStack) {
    this.#stack = stack;
  }

  async begin(): Promise<void> {
    for (const [name, { child }] of Object.entries(this.#stack.processes)) {
      await askLoop(child, 5000);
      // Resets the peak (VmHWM) to the present size.
      writeFileSync(`/proc/${child.pid}/clear_refs`, '5');
      this.#cpuBefore[name] = cpuOf(child.pid);
    }
    this.#timer = setInterval(() => this.#look(), SAMPLE_MS);
  }

  async end(): Promise<Figures> {
    clearInterval(this.#timer);
    this.#look();
    const figures: Figures = {};
    for (const [name, { child }] of Object.entries(this.#stack.processes)) {
      const loop = await askLoop(child, SETTLE_MS);
      const prefix = name === 'API' ? '' : `${name}: `;
      // A process that does not respond cannot report its block.
      figures[`${prefix}block (ms of CPU)`] = loop ? Math.round(loop.blockCpuMs) : Number.NaN;
      figures[`${prefix}block (ms)`] = loop ? Math.round(loop.blockMs) : Number.NaN;
      figures[`${name} peak (MB)`] = Math.round((this.#peakKb[name] ?? Number.NaN) / 1000);
      figures[`${name} CPU (ms)`] = Math.round(
        ((this.#cpuS[name] ?? 0) - (this.#cpuBefore[name] ?? 0)) * 1000,
      );
    }
    figures['Redis peak (MB)'] = megabytes(this.#redisPeak);
    return figures;
  }

  #look(): void {
    if (this.#looks++ % REDIS_EVERY === 0) {
      void this.#stack.redisBytes().then((bytes) => {
        if (bytes > this.#redisPeak) this.#redisPeak = bytes;
      });
    }
    for (const [name, { child }] of Object.entries(this.#stack.processes)) {
      try {
        const kb = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
        if (kb === undefined) continue;
        this.#peakKb[name] = Number(kb);
        this.#cpuS[name] = cpuSeconds(child.pid ?? 0);
      } catch {
        // The process has ended; its last figures stay.
      }
    }
  }
}

/** Calls of another key, made in a thread. */
class Bystander {
  readonly #thread: Worker;

  private constructor(data: BystanderOptions) {
    this.#thread = new Worker(new URL('./abuse/bystander.ts', import.meta.url), { workerData: data });
  }

  static async start(data: BystanderOptions): Promise<Bystander> {
    const bystander = new Bystander(data);
    await bystander.#next();
    return bystander;
  }

  begin(): void {
    this.#thread.postMessage('begin');
  }

  async end(): Promise<Observed> {
    const observed = this.#next();
    this.#thread.postMessage('end');
    return observed as Promise<Observed>;
  }

  async stop(): Promise<void> {
    await this.#thread.terminate();
  }

  #next(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#thread.once('message', resolve);
      this.#thread.once('error', reject);
    });
  }
}

/** Mounts a file system in memory. @returns its folder, or `none` without the right to mount */
function mountDisk(megabytesOfIt: number): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'amulet-disk-'));
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytesOfIt}m`, 'tmpfs', folder]);
  if (status === 0) return folder;
  rmSync(folder, { recursive: true });
  return 'none';
}

function unmountDisk(folder: string): void {
  spawnSync('umount', [folder]);
  rmSync(folder, { recursive: true, force: true });
}
