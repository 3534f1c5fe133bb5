/**
 * A power failure of the machine that runs Redis, simulated: the append-only file ends where it was when the last finished fsync
 * began. A kernel may have written more; it owes no more. strace tells what was written and when it was synced.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { OwnRedis } from './redis.ts';
import { eventually } from '../processes/stack.ts';

/** Why this cannot be tried here; undefined: it can. */
export const cannotLosePower: string | undefined =
  process.platform !== 'linux' || spawnSync('strace', ['--version']).status !== 0
    ? 'no strace'
    : spawnSync('redis-server', ['--version']).status !== 0
      ? 'no redis-server'
      : spawnSync('strace', ['-o', '/dev/null', 'true']).status !== 0
        ? 'processes may not be traced'
        : process.getuid?.() !== 0
          ? 'only root may trace a running process everywhere'
          : undefined;

export class MortalRedis {
  readonly redis: OwnRedis;
  readonly #folder: string;
  readonly #tracer: ChildProcess;
  /** Bytes of the file before anything was traced. */
  readonly #before: number;

  private constructor(redis: OwnRedis, folder: string) {
    this.redis = redis;
    this.#folder = folder;
    this.#before = statSync(this.#file()).size;
    this.#tracer = spawn(
      'strace',
      [
        '-f',
        '-y',
        '-s',
        '0',
        '-e',
        'trace=write,fsync,fdatasync',
        '-o',
        this.#trace,
        '-p',
        String(redis.pid),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
  }

  static async start(options: string[]): Promise<MortalRedis> {
    // One append-only file for as long as it lasts.
    const redis = await OwnRedis.start([...options, '--auto-aof-rewrite-percentage', '0']);
    const mortal = new MortalRedis(redis, mkdtempSync(path.join(tmpdir(), 'amulet-test-power-')));
    let said = '';
    mortal.#tracer.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await eventually(() => {
      if (mortal.#tracer.exitCode !== null) throw new Error(said);
      return Promise.resolve(said.includes('attached') ? true : undefined);
    });
    return mortal;
  }

  /** Resolves when all that was answered so far is on the disk. */
  async synced(): Promise<void> {
    const written = statSync(this.#file()).size;
    await eventually(() => Promise.resolve(this.#syncedBytes() >= written ? true : undefined));
  }

  /** @returns how many bytes were lost */
  async losePower(): Promise<number> {
    const traced = new Promise((resolve) => this.#tracer.once('exit', resolve));
    await this.redis.kill();
    await traced;
    const file = this.#file();
    const synced = this.#syncedBytes();
    const lost = statSync(file).size - synced;
    truncateSync(file, synced);
    return lost;
  }

  async stop(): Promise<void> {
    await this.redis.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #trace(): string {
    return path.join(this.#folder, 'trace');
  }

  #file(): string {
    const folder = path.join(this.redis.dir, 'appendonlydir');
    const name = readdirSync(folder).find((each) => each.endsWith('.incr.aof'));
    if (name === undefined) throw new Error(`no append-only file in ${folder}`);
    return path.join(folder, name);
  }

  /** How long the file was when the last fsync that has ended began. */
  #syncedBytes(): number {
    let written = this.#before;
    let synced = this.#before;
    /** Length at the beginning of a thread's fsync that goes on. */
    const going = new Map<string, number>();
    for (const line of readFileSync(this.#trace, 'utf8').split('\n')) {
      const [, thread = '', call = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
      const ofFile = call.includes('.incr.aof>');
      const [, bytes] =
        /^write\(.*\) += (\d+)$/.exec(call) ?? /^<\.\.\. write resumed>.*\) += (\d+)$/.exec(call) ?? [];
      if (/^f(data)?sync\(/.test(call) && ofFile) {
        if (call.endsWith('= 0')) synced = written;
        else going.set(thread, written);
      } else if (/^<\.\.\. f(data)?sync resumed>.*= 0$/.test(call) && going.has(thread)) {
        synced = Math.max(synced, going.get(thread) ?? 0);
        going.delete(thread);
      } else if (call.startsWith('write(') && ofFile && bytes !== undefined) {
        written += Number(bytes);
      } else if (call.startsWith('write(') && ofFile) {
        going.set(`write ${thread}`, 0);
      } else if (bytes !== undefined && going.delete(`write ${thread}`)) {
        written += Number(bytes);
      }
    }
    return synced;
  }
}
