/**
 * docker-compose.yml as it is shipped, on a real engine: the image, its rights, the README's first request, and whether every
 * acknowledged job reaches one final state while containers are added, killed and replaced. `npm run test:compose` runs it.
 */
import * as fs from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { Compose, composeMissing, docker, inspect } from '../support/processes/compose.ts';
import { whatIsLeft } from '../support/redis/invariants.ts';
import { JobLoad } from '../support/api/job-load.ts';
import { Receiver, type Received } from '../support/webhooks/receiver.ts';
import { freePort } from '../support/redis/redis.ts';
import { eventually, SHIPPED_MODEL } from '../support/processes/stack.ts';
import { goEmotions } from '../support/inputs/texts.ts';

const IMAGES = ['node:24-bookworm-slim', 'redis:8-alpine'];
const missing = process.env.TEST_COMPOSE ? composeMissing(IMAGES) : 'npm run test:compose runs it';
/** Of a build without a cache, of a scenario, and of what is still under way when it has ended. */
const BUILD_TIMEOUT_MS = 600_000;
const SCENARIO_TIMEOUT_MS = 600_000;
const SETTLE_TIMEOUT_MS = 60_000;
/** Seconds that `docker stop` gives a process: stop_grace_period. */
const GRACE_S = '30';
const WORKERS = 3;
const TEXTS_PER_JOB = 4;
const PREFIX = '{amulet}';

const texts = goEmotions();
const secret = newSecret();

describe.skipIf(missing !== undefined)(
  `docker-compose.yml${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    /** The ids of the events that told of a job's end. A delivery may come twice; a second event must not. */
    const events = new Map<string, Set<string>>();
    let dir: string;
    let compose: Compose;
    let receiver: Receiver;
    let url: string;

    /** @throws Error unless it is signed, and about a job that has succeeded */
    const note = ({ body, headers }: Received): void => {
      const event = new Webhook(secret).verify(body, headers as Record<string, string>);
      const { type, data } = event as { type: string; data: Job };
      expect(type).toBe('job.succeeded');
      events.set(data.id, (events.get(data.id) ?? new Set()).add(String(headers['webhook-id'])));
    };

    beforeAll(async () => {
      dir = fs.mkdtempSync(path.join(tmpdir(), 'amulet-compose-'));
      receiver = await Receiver.startEverywhere((received, response) => {
        note(received);
        response.writeHead(204).end();
      });
      const port = await freePort();
      url = `http://127.0.0.1:${port}`;
      compose = new Compose({
        files: ['docker-compose.yml', 'test/fixtures/compose/override.yml'],
        env: {
          // That of the tests is not in the image.
          ...SHIPPED_MODEL,
          PORT: String(port),
          MODEL_PROCESSES: '1',
          WEBHOOK_SECRET: secret,
          WEBHOOK_ALLOW: `host.docker.internal:${receiver.port}`,
        },
      });
      await compose.run('build');
      await compose.up();
    }, BUILD_TIMEOUT_MS);
    afterAll(async () => {
      await compose.remove();
      await receiver.stop();
      fs.rmSync(dir, { recursive: true, force: true });
    });

    const get = async <T>(where: string): Promise<T> => (await (await fetch(url + where)).json()) as T;
    const one = async (service: string): Promise<string> => (await compose.containers(service))[0]!;
    const workers = (count: number): Promise<void> =>
      compose.up('--no-recreate', '--scale', `worker=${count}`);
    /** As a crash would end it: neither it nor the engine's restart policy gets to do anything. */
    const kill = (container: string): Promise<string> => docker('kill', '--signal', 'KILL', container);

    let n = 0;
    const job = () => ({
      texts: Array.from({ length: TEXTS_PER_JOB }, () => texts[n++ % texts.length]),
      webhook: { url: `http://host.docker.internal:${receiver.port}/` },
    });
    const startLoad = () => new JobLoad({ url, job, callers: 4, pauseMs: 200 });

    /** Waits for the end of every job, which there is one of, and for nothing else to be left in Redis. */
    const allEndOnce = async (ids: string[]): Promise<void> => {
      expect(new Set(ids).size).toBe(ids.length);
      for (const id of ids) {
        const job = await eventually(async () => {
          const read = await get<Job>(`/v1/jobs/${id}?wait=30`);
          return read.finished_at === null ? undefined : read;
        });
        expect(job).toMatchObject({ id, status: 'succeeded', failed_texts: 0 });
        expect(job.results).toHaveLength(TEXTS_PER_JOB);
      }
      const untold = () => ids.filter((id) => !events.has(id));
      await expect.poll(untold, { timeout: SETTLE_TIMEOUT_MS }).toEqual([]);
      expect(ids.filter((id) => events.get(id)?.size !== 1)).toEqual([]);
      const redisUrl = `redis://${await compose.address('redis', 6379)}`;
      await expect.poll(() => whatIsLeft(redisUrl, PREFIX), { timeout: SETTLE_TIMEOUT_MS }).toEqual([]);
    };

    /** A file of so many rows, and the command that labels it meanwhile. */
    const backfill = (name: string, rows: number) => {
      const file = path.join(dir, `${name}.txt`);
      const out = path.join(dir, `${name}.jsonl`);
      fs.writeFileSync(file, Array.from({ length: rows }, (_, i) => `${texts[i % texts.length]}\n`).join(''));
      const command = new CliProcess(['backfill', file, '--out', out, '--url', url]);
      return async () => {
        const { code, said } = await command.ended;
        expect(code, said).toBe(0);
        const lines = fs.readFileSync(out, 'utf8').trimEnd().split('\n');
        expect(lines.map((line) => (JSON.parse(line) as { line: number }).line)).toEqual(
          Array.from({ length: rows }, (_, i) => i + 1),
        );
      };
    };

    test('answers the first request of the README', async () => {
      const [, where = '', body = ''] =
        /curl -s http:\/\/127\.0\.0\.1:3000(\/\S+) .*\n *-d '([^']+)'/.exec(
          fs.readFileSync('README.md', 'utf8'),
        ) ?? [];
      const headers = { 'Content-Type': 'application/json' };
      const response = await fetch(url + where, { method: 'POST', headers, body });
      expect(await response.json()).toEqual({ label: 'POSITIVE', score: expect.closeTo(0.98, 2) });
    });

    test('runs without capabilities, and publishes ports on loopback only', async () => {
      const containers = await compose.containers();
      expect(containers).toHaveLength(4);
      const rights = '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}';
      expect(new Set(await inspect(containers, rights))).toEqual(
        new Set(['true [ALL] [no-new-privileges:true]']),
      );
      const users = await Promise.all(containers.map((each) => docker('exec', each, 'id', '-u')));
      expect(users).not.toContain('0');
      const addresses = await inspect(
        containers,
        '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}',
      );
      expect(new Set(addresses.join('').trim().split(/ +/))).toEqual(new Set(['127.0.0.1']));
    });

    test('the image has all files it needs, and logs no warning', async () => {
      const worker = await one('worker');
      const find = (...args: string[]) => docker('exec', worker, 'find', 'node_modules', ...args);
      expect(await find('-name', '*.map', '-o', '-name', '*.d.ts')).toBe('');
      expect((await find('-name', 'onnxruntime_binding.node')).split('\n')).toHaveLength(1);
      expect(await docker('exec', worker, 'amulet', 'model', 'check', 'models/goemotions-minilm')).toContain(
        '28',
      );
      for (const service of ['api', 'worker', 'webhooks']) {
        const lines = (await docker('logs', await one(service))).split('\n');
        expect(lines.filter((line) => !/^\{"level":[34]0,/.test(line))).toEqual([]);
      }
      // Not even Node, on standard error.
      const script = 'exec node src/healthcheck/main.ts 2>&1';
      expect(await docker('exec', worker, 'sh', '-c', script)).toMatch(/^{"status":"ready".*}$/);
    });

    test('serves its metrics inside its network', async () => {
      for (const at of ['api:3300', 'worker:3100', 'webhooks:3200']) {
        const script = `fetch('http://${at}/metrics').then((r) => r.text()).then(console.log)`;
        expect(await docker('exec', await one('webhooks'), 'node', '-e', script)).toContain(
          `role="${at.split(':')[0]}"`,
        );
      }
    });

    test('the command in the image labels a file', async () => {
      fs.writeFileSync(path.join(dir, 'in.txt'), texts.join('\n'));
      const { uid, gid } = userInfo();
      // prettier-ignore
      await compose.run(
      'run', '--rm', '-T', '-u', `${uid}:${gid}`, '-v', `${dir}:/files`, 'api',
      'amulet', 'backfill', '/files/in.txt', '--out', '/files/out.jsonl', '--url', 'http://api:3000',
    );
      const rows = fs.readFileSync(path.join(dir, 'out.jsonl'), 'utf8').trimEnd().split('\n');
      expect(rows).toHaveLength(texts.length);
      expect(rows.filter((row) => row.includes('"error"'))).toEqual([]);
    });

    test('restarts a process that ends by itself', async () => {
      const worker = await one('worker');
      await docker('exec', worker, 'node', '-e', 'process.kill(1)');
      await eventually(async () =>
        (await inspect([worker], '{{.RestartCount}}'))[0] === '1' ? true : undefined,
      );
      await compose.healthy();
    });

    test(
      'loses no job when workers are added or any container is killed',
      async () => {
        const backfilled = backfill('killed', 2000);
        const load = startLoad();
        await load.more(50);
        await workers(WORKERS);
        await eventually(async () => {
          const { models } = await get<{ models: Model[] }>('/v1/models');
          return models[0]?.workers === WORKERS ? true : undefined;
        });
        for (const service of ['worker', 'worker', 'api', 'webhooks', 'redis']) {
          await load.more(50);
          await kill(await one(service));
          await workers(WORKERS);
        }
        await load.more(50);
        await load.stop();
        await backfilled();
        await allEndOnce(load.ids);
        console.log(`killed: ${load.ids.length} jobs acknowledged, ${load.repeats} requests repeated`);
      },
      SCENARIO_TIMEOUT_MS,
    );

    test(
      'loses no job in a rolling restart: every process finishes its work',
      async () => {
        const load = startLoad();
        for (const container of await compose.containers()) {
          await load.more(50);
          await docker('stop', '--time', GRACE_S, container);
          expect(await inspect([container], '{{.State.ExitCode}}')).toEqual(['0']);
          await docker('start', container);
          await compose.healthy();
        }
        await load.stop();
        await allEndOnce(load.ids);
        console.log(`rolled: ${load.ids.length} jobs acknowledged, ${load.repeats} requests repeated`);
      },
      SCENARIO_TIMEOUT_MS,
    );

    test(
      'keeps jobs and batches between down and up',
      async () => {
        await compose.run('stop', 'worker');
        const load = startLoad();
        await load.more(50);
        await load.stop();
        const backfilled = backfill('kept', 500);
        await eventually(async () => {
          const { batches } = await get<{
            batches: { queued_at: string | null; rows: { finished: number } }[];
          }>('/v1/batches');
          return batches.some(({ queued_at, rows }) => queued_at !== null && rows.finished === 0)
            ? true
            : undefined;
        });
        await compose.run('down');
        expect(await compose.containers()).toEqual([]);
        await compose.up();
        await backfilled();
        await allEndOnce(load.ids);
      },
      SCENARIO_TIMEOUT_MS,
    );
  },
);
