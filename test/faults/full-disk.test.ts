/** `npm start` on a disk that fills up: no acknowledged work is lost, and everything continues by itself. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { NDJSON } from '../support/api/batches.ts';
import { standIn } from '../support/models/stand-in.ts';
import { Launcher } from '../support/processes/launcher.ts';
import { freePort } from '../support/redis/redis.ts';
import { SmallDisk } from '../support/storage/small-disk.ts';
import { eventually, QUICK_START } from '../support/processes/stack.ts';

const FULL = /redis +waiting: .*the disk is full: make room/;
const UP = /^redis +redis-server, appendfsync always/gm;

const probe = SmallDisk.mount('1m');
if (typeof probe !== 'string') probe.unmount();

describe.skipIf(typeof probe === 'string')(
  `npm start on a full disk${typeof probe === 'string' ? ` (skipped: ${probe})` : ''}`,
  () => {
    let disk: SmallDisk;
    let dataDir: string;
    let env: Record<string, string>;
    let launcher: Launcher;
    let url: string;

    beforeEach(async () => {
      disk = SmallDisk.mount('40m') as SmallDisk;
      dataDir = path.join(disk.folder, 'data');
      env = {
        DATA_DIR: dataDir,
        PORT: String(await freePort()),
        ...QUICK_START,
        ...standIn({ tokenMs: 0.2 }),
        BULK_CHUNK_BYTES: '600',
        LOCK_DURATION_MS: '1500',
        STALLED_INTERVAL_MS: '1000',
      };
    });
    afterEach(async () => {
      await launcher.interrupt();
      disk.unmount();
    });

    async function start(): Promise<void> {
      launcher = new Launcher(env);
      [, url = ''] = await launcher.says(/Amulet is ready on (\S+)/);
    }

    /** @returns status and body; undefined when there was no answer */
    async function call<T>(
      target: string,
      init?: RequestInit,
    ): Promise<{ status: number; body: T } | undefined> {
      try {
        const response = await fetch(url + target, init);
        return { status: response.status, body: (await response.json()) as T };
      } catch {
        return undefined;
      }
    }
    const postJob = () =>
      call<Job & { code: string }>('/v1/jobs', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ texts: ['a wonderful film', 'a tedious mess'] }),
      });
    const postBatch = (rows: number) =>
      call<Batch & { code: string }>('/v1/batches', {
        method: 'POST',
        headers: NDJSON,
        body: '{"text":"a wonderful film"}\n'.repeat(rows),
      });
    const timesUp = () => launcher.output.match(UP)?.length ?? 0;

    /** Expects that all acknowledged work is finished. */
    async function expectAllDone(jobs: readonly string[], batch: string, rows: number): Promise<void> {
      for (const id of jobs) {
        await eventually(async () =>
          (await call<Job>(`/v1/jobs/${id}`))?.body.status === 'succeeded' ? true : undefined,
        );
      }
      const done = await eventually(async () => {
        const answer = await call<Batch>(`/v1/batches/${batch}`);
        return answer?.body.status === 'completed' ? answer.body : undefined;
      });
      expect(done).toMatchObject({ rows: { total: rows, finished: rows, failed: 0 }, problem: null });
      const results = await (await fetch(`${url}/v1/batches/${batch}/results`)).text();
      expect(results.trimEnd().split('\n').length).toBe(rows);
    }

    test('filled during jobs, an upload and a batch: Redis ends, waits for space, and all work continues', async () => {
      await start();
      const jobs: string[] = [];
      const refusals = new Set<string>();
      let asking = true;
      const callers = Array.from({ length: 3 }, async () => {
        while (asking) {
          const answer = await postJob();
          if (answer?.status === 202) jobs.push(answer.body.id);
          else if (answer) refusals.add(`${answer.status} ${answer.body.code}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      });
      const rows = 1500;
      const batch = (await postBatch(rows))!.body.id;
      let end = (): void => {};
      const held = fetch(`${url}/v1/batches`, {
        method: 'POST',
        headers: NDJSON,
        duplex: 'half',
        body: ReadableStream.from(
          (async function* () {
            yield Buffer.from('{"text":"held"}\n'.repeat(50_000));
            await new Promise<void>((resolve) => (end = resolve));
          })(),
        ) as ReadableStream<Uint8Array>,
      }).catch(() => undefined);
      await eventually(() => Promise.resolve(jobs.length > 20 || undefined));

      const filler = disk.fill();
      await launcher.says(FULL);
      // The API runs all the time and reports the problem.
      expect((await postBatch(10))?.status).toBeGreaterThanOrEqual(500);
      expect((await fetch(`${url}/health/live`)).status).toBe(200);
      const acknowledged = jobs.length;
      rmSync(filler);
      await eventually(() => Promise.resolve(timesUp() > 1 || undefined));
      await eventually(() => Promise.resolve(jobs.length > acknowledged || undefined));
      asking = false;
      await Promise.all(callers);
      end();
      const upload = await held;
      // The upload was accepted when Redis came back in time. Its 50,000 rows would delay the test.
      if (upload?.status === 202) {
        const { id } = (await upload.json()) as Batch;
        await fetch(`${url}/v1/batches/${id}`, { method: 'DELETE' });
      }
      await expectAllDone(jobs, batch, rows);
      // Logged once per cause.
      expect(launcher.output.match(new RegExp(FULL, 'g'))).toHaveLength(1);
      for (const refusal of refusals)
        expect(refusal).toMatch(/^(507 redis_disk_full|503 redis_unavailable)$/);
      await eventually(() =>
        Promise.resolve(readdirSync(path.join(dataDir, 'blobs', '~tmp')).length === 0 || undefined),
      );
    });

    test('less space than the reserve: new work is refused with the cure, accepted work is finished', async () => {
      env.MIN_FREE_DISK_BYTES = '10000000';
      await start();
      const job = (await postJob())!.body.id;
      const batch = (await postBatch(1500))!.body.id;
      const filler = disk.fill(8_000_000);
      const refused = await eventually(async () => {
        const answer = await postJob();
        return answer?.status === 202 ? undefined : answer;
      });
      expect(refused).toMatchObject({ status: 507, body: { code: 'redis_disk_full' } });
      expect(await postBatch(10)).toMatchObject({ status: 507 });
      await expectAllDone([job], batch, 1500);
      rmSync(filler);
      await eventually(async () => ((await postJob())?.status === 202 ? true : undefined));
      expect(timesUp()).toBe(1);
    });

    test('full at the start: removes what killed uploads left, and waits for space', async () => {
      await start();
      const job = (await postJob())!.body.id;
      await launcher.interrupt();
      // A process that was killed during an upload leaves such a file; this one fills the disk.
      const module = path.resolve('src/shared/blobs/temporary-files.ts');
      const script = `import(${JSON.stringify(module)}).then((m) => console.log(m.temporaryName()))`;
      const name = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' }).trim();
      const leftover = path.join(dataDir, 'blobs', '~tmp', name);
      writeFileSync(leftover, Buffer.alloc(disk.freeBytes));
      expect(disk.freeBytes).toBe(0);
      await start();
      expect(existsSync(leftover)).toBe(false);
      expect(launcher.output).not.toMatch(FULL);
      await launcher.interrupt();

      const filler = disk.fill();
      launcher = new Launcher(env);
      await launcher.says(FULL);
      expect(statSync(filler).size).toBeGreaterThan(0);
      rmSync(filler);
      [, url = ''] = await launcher.says(/Amulet is ready on (\S+)/);
      expect((await call<Job>(`/v1/jobs/${job}`))?.status).toBe(200);
    });
  },
);
