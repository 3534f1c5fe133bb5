/**
 * What one caller can do to the service and to the others, an attack a row (test/support/attacks): how long the API's loop is
 * blocked at a stretch, what is answered, memory, CPU, what stays in Redis and on the disk, and how another key fares
 * meanwhile. Every attack has a stack of its own with little memory: one that dies ends nothing but its row.
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

/** For any body, ms: what the bars of goals.ts say. */
export const MAX_BLOCK_MS = 300;
export const MAX_ANSWER_BYTES = 65_536;

const ALONE_MS = 2000;
const SAMPLE_MS = 50;
/** Every how many samples Redis is asked, too. */
const REDIS_EVERY = 5;
/** How long a blocked process is waited for after the attack. */
const SETTLE_MS = 30_000;

let options: AbuseOptions = { only: [''], apiHeapMb: 512, workerHeapMb: 400 };

export function useAttacks(given: Partial<AbuseOptions>): void {
  options = { ...options, ...given };
}

/** Every figure of every attack, by its name. */
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
  const with_ = (figure: string) => rows.filter((row) => Number(row[figure] ?? 0) > 0).length;
  return {
    attacks: rows.length,
    'longest block of the API (ms of CPU)': largest('block (ms of CPU)'),
    'largest answer (bytes)': largest('largest answer (bytes)'),
    'attacks that ended a process': rows.filter(({ ended }) => ended !== '').length,
    'attacks without an answer in time': with_('no answer'),
    "attacks during which another key's calls failed": with_('others: failed'),
    'attacks that miss a bar': rows.filter(({ misses }) => misses !== '').length,
  };
}

const COLUMNS: [title: string, width: number, value: (row: Figures) => number | string | undefined][] = [
  ['attack', 70, () => ''],
  ['answers', 26, (row) => row.answers],
  ['bytes', 10, (row) => row['largest answer (bytes)']],
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
  if (disk === 'none') return { misses: '', answers: 'skipped: no disk could be mounted', ended: '' };
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
    // The first calls find cold code.
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
      answers: summary(outcomes),
      'no answer': outcomes.filter(({ status }) => status === 'no answer').length,
      'largest answer (bytes)': Math.max(0, ...outcomes.map(({ bytes }) => bytes)),
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

/** Which bars the figures of an attack miss. */
function misses(figures: Figures): string {
  const block = Number(figures['block (ms of CPU)']);
  const found = [
    block > MAX_BLOCK_MS || Number.isNaN(block) ? 'block' : '',
    Number(figures['largest answer (bytes)']) > MAX_ANSWER_BYTES ? 'answer' : '',
    Number(figures['no answer']) > 0 ? 'no answer' : '',
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
    // An attack that needs an answer to go on, and does not get it, has done what it can.
    await attacker.attack(attack.run);
    return { outcomes: attacker.outcomes, seconds: (performance.now() - start) / 1000 };
  } finally {
    clearTimeout(timer);
    over.abort();
    attacker.release();
  }
}

/** Waits until the API answers again and does not use its CPU any more. */
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

/** Memory, CPU and blocked loops of the processes while they are attacked. */
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
      // The largest that it has been is from now on.
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
      // Without an answer, what it was blocked for is not known.
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
        // It has ended; the last figures stand.
      }
    }
  }
}

/** Another key's calls, made in a thread. */
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

/** A file system of its own in memory. @returns its folder, or `none` where nothing may be mounted */
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
