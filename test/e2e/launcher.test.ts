/** `npm start` as a user runs it: submit, poll, long-poll, predict, stop; and what happens when processes die. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import type { LabelScore } from '../../src/shared/contract/results.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { Launcher } from '../support/processes/launcher.ts';
import { freePort } from '../support/redis/redis.ts';
import { eventually, SHIPPED_MODEL } from '../support/processes/stack.ts';
import { longText } from '../support/inputs/texts.ts';

/** Measuring how much a batch should hold takes each worker seconds: one test has it done. */
const MEASURED = { MODEL_PROCESSES: '1', BATCH_TOKENS: '256', BULK_BATCH_TOKENS: '256' };

/** `npm run start:worker` without npm, which would not pass on the signal that ends it. */
const START_WORKER =
  'node --disable-warning=ExperimentalWarning --max-semi-space-size=8 src/worker/inference/main.ts';

let dataDir: string;
let env: Record<string, string>;
let launcher: Launcher;

beforeEach(async () => {
  dataDir = mkdtempSync(path.join(tmpdir(), 'amulet-e2e-'));
  env = { DATA_DIR: dataDir, PORT: String(await freePort()), WORKER_PORT: '0', WORKERS: '1', ...MEASURED };
});
afterEach(async () => {
  await launcher.interrupt();
  rmSync(dataDir, { recursive: true, force: true });
});

async function start(): Promise<string> {
  launcher = new Launcher(env);
  return (await launcher.says(/Amulet is ready on (\S+)/))[1]!;
}

async function post<T>(url: string, body: unknown): Promise<T> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  return (await response.json()) as T;
}

test('SIGHUP without a terminal makes the API reread its keys', async () => {
  const file = path.join(dataDir, 'keys');
  const [first, second] = [newKey(), newKey()];
  writeFileSync(file, keyLine('first', first));
  Object.assign(env, { API_KEYS_FILE: file });
  const url = await start();
  const status = async (key: string) =>
    (await fetch(`${url}/v1/jobs`, { headers: { authorization: `Bearer ${key}` } })).status;
  expect([await status(first), await status(second)]).toEqual([200, 401]);
  writeFileSync(file, keyLine('second', second));
  const group = String(launcher.process.pid);
  const pid = spawnSync('pgrep', ['-g', group, '-f', '^[^ ]*node .*src/main.ts'], {
    encoding: 'utf8',
  }).stdout;
  process.kill(Number(pid.trim()), 'SIGHUP');
  await eventually(async () => ((await status(second)) === 200 ? true : undefined));
  expect(await status(first)).toBe(401);
  expect(launcher.output).not.toMatch(/stopping|died/);
});

test('from a text to a label', async () => {
  env = { ...SHIPPED_MODEL, DATA_DIR: dataDir, PORT: env.PORT!, WORKER_PORT: '0', WORKERS: '2' };
  const url = await start();
  expect(launcher.output).toMatch(/^redis +redis-server, appendfsync always/m);
  expect(launcher.output).toMatch(/^worker-2 +sst2-minilm/m);

  const submitted = await post<Job>(`${url}/v1/jobs`, { text: 'an utterly charming film' });
  const polled = await eventually(async () => {
    const job = (await (await fetch(url + submitted.urls.self)).json()) as Job;
    return job.status === 'succeeded' ? job : undefined;
  });
  expect(polled.results).toMatchObject([{ label: 'POSITIVE' }]);

  const second = await post<Job>(`${url}/v1/jobs`, { text: 'a tedious mess' });
  const waited = (await (await fetch(`${url}${second.urls.self}?wait=30`)).json()) as Job;
  expect(waited.results).toMatchObject([{ label: 'NEGATIVE' }]);

  const review = { text: 'a stirring, funny and finally transporting re-imagining of beauty and the beast' };
  expect((await post<LabelScore>(`${url}/predict`, review)).label).toBe('POSITIVE');

  // The line it prints to try is one that works.
  const [, tried] = /^Try: +(curl .*)$/m.exec(launcher.output)!;
  const curl = spawn('sh', ['-c', tried!], { stdio: ['ignore', 'pipe', 'ignore'] });
  const answer = await new Promise<string>((resolve) =>
    curl.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())),
  );
  expect(JSON.parse(answer)).toMatchObject({ label: 'POSITIVE' });

  // Types are stripped from what the page is served; Node warns of that, to the terminal of whoever opens it.
  expect((await fetch(`${url}/page/main.ts`)).status).toBe(200);

  await launcher.interrupt();
  expect(launcher.output).toMatch(/amulet +stopped/);
  expect(launcher.output).not.toContain('ending at once');
  expect(launcher.output).not.toContain('Warning: ');
  await expect(fetch(url)).rejects.toThrow();
});

test('without settings: the first lines of README.md get the labels below them, in English and Russian', async () => {
  env = { ...env, MODEL_DIR: '' };
  const url = await start();
  const [, block] = /^```sh\n(curl [^]*?)^```$/m.exec(readFileSync('README.md', 'utf8'))!;
  const calls = [...block!.matchAll(/^(curl [^#]*?)\n# (\{.*)$/gm)];
  const labels = calls.map(([, line]) => {
    const { stdout } = spawnSync('sh', ['-c', line!.replaceAll('http://127.0.0.1:3000', url)], {
      encoding: 'utf8',
    });
    return (JSON.parse(stdout) as LabelScore).label;
  });
  expect(labels).toEqual(calls.map(([, , answer]) => /"label":"(\w+)"/.exec(answer!)?.[1]));
  expect(labels).toEqual(['POSITIVE', 'POSITIVE']);
  const { models } = (await (await fetch(`${url}/v1/models`)).json()) as { models: Model[] };
  expect(models.map(({ name }) => name)).toEqual(['sentiment-multilingual']);
  expect(models[0]?.languages).toEqual(expect.arrayContaining(['en', 'ru']));
});

test('MODEL_DIR alone sets the default model: the printed command gives a label', async () => {
  env = { ...env, MODEL_DIR: 'models/goemotions-minilm' };
  await start();
  const [, tried] = /^Try: +(curl .*)$/m.exec(launcher.output)!;
  const { stdout } = spawnSync('sh', ['-c', tried!], { encoding: 'utf8' });
  expect(JSON.parse(stdout)).toMatchObject({ label: expect.any(String), score: expect.any(Number) });
});

test('a default model without workers is reported, and the printed command names another', async () => {
  env = { ...env, DEFAULT_MODEL: 'absent' };
  launcher = new Launcher(env);
  await launcher.says(/Amulet is running on \S+, but no worker serves DEFAULT_MODEL=absent/);
  expect(launcher.output).not.toContain('is ready');
  const [, tried] = await launcher.says(/^Try: +(curl .*)$/m);
  const { stdout } = spawnSync('sh', ['-c', tried!], { encoding: 'utf8' });
  expect(JSON.parse(stdout)).toMatchObject({ label: 'POSITIVE' });
});

test('work for the model of an earlier start is named, and the printed command serves it', async () => {
  env = { ...env, ...SHIPPED_MODEL };
  await start();
  await launcher.interrupt();
  env = { ...env, MODEL_DIR: 'models/goemotions-minilm' };
  const url = await start();
  const { urls } = await post<Job>(`${url}/v1/jobs`, { text: 'utterly charming', model: 'sst2-minilm' });
  const [, command] = await launcher.says(
    /^api +no worker serves sst2-minilm, and work waits for it: 1 text: start one: (.*)$/m,
  );
  expect(command).toMatch(
    /^REDIS_URL=unix:\S+ MODEL_DIR=models\/sst2-minilm WORKER_PORT=0 npm run start:worker$/,
  );
  const worker = spawn('sh', ['-c', `exec env ${command!.replace('npm run start:worker', START_WORKER)}`], {
    env: { ...process.env, ...env },
    stdio: 'ignore',
  });
  try {
    await launcher.says(/^api +a worker serves sst2-minilm again$/m);
    const job = (await (await fetch(`${url}${urls.self}?wait=30`)).json()) as Job;
    expect(job).toMatchObject({ status: 'succeeded', results: [{ label: 'POSITIVE' }] });
  } finally {
    worker.kill();
    await once(worker, 'exit');
  }
});

test('SIGTERM to npm alone, as a supervisor sends it, stops every process in order', async () => {
  env.WORKERS = '2';
  const url = await start();
  launcher.process.kill('SIGTERM');
  await launcher.says(/amulet +stopped/);
  expect(launcher.output).not.toContain('ending at once');
  await expect(fetch(url)).rejects.toThrow();
});

test('after Ctrl-C in the middle of work, the next start finishes every acknowledged job', async () => {
  env = { ...env, ...SHIPPED_MODEL };
  const url = await start();
  const texts = Array.from({ length: 8 }, () => longText(1500));
  const jobs = await Promise.all(Array.from({ length: 8 }, () => post<Job>(`${url}/v1/jobs`, { texts })));
  await launcher.interrupt();
  const again = await start();
  for (const { urls } of jobs) {
    const job = await eventually(async () => {
      const read = (await (await fetch(`${again}${urls.self}?wait=30`)).json()) as Job;
      return read.finished_at === null ? undefined : read;
    });
    expect(job).toMatchObject({ status: 'succeeded', failed_texts: 0 });
  }
});

test('a process that dies is restarted and reported', async () => {
  const url = await start();
  const { pid } = JSON.parse(
    (await import('node:fs')).readFileSync(path.join(dataDir, 'logs', 'api.log'), 'utf8').split('\n')[0]!,
  ) as { pid: number };
  process.kill(pid, 'SIGKILL');
  await launcher.says(/^api +died \(SIGKILL\); restarting in 0.5 s/m);
  const health = await eventually(async () => (await fetch(`${url}/health`).catch(() => undefined))?.status);
  expect([200, 503]).toContain(health);
});

test('a killed launcher leaves its Redis, which the next launcher takes over with all jobs', async () => {
  env = { ...env, ...SHIPPED_MODEL };
  const url = await start();
  const texts = Array.from({ length: 40 }, () => longText(1500));
  const job = await post<Job>(`${url}/v1/jobs`, { texts });
  process.kill(-launcher.process.pid!, 'SIGKILL');
  // The parts see that their launcher is gone and stop by themselves.
  await eventually(async () => ((await fetch(url).catch(() => undefined)) ? undefined : true));
  const again = await start();
  expect(launcher.output).toMatch(/^redis +still running from an earlier start/m);
  const done = (await (await fetch(`${again}${job.urls.self}?wait=60`)).json()) as Job;
  expect(done.status).toBe('succeeded');
});

describe('a start that cannot work ends with one clear line and status 1', () => {
  test('a port in use', async () => {
    await start();
    const other = new Launcher({ ...env, DATA_DIR: path.join(dataDir, 'other') });
    await new Promise((resolve) => other.process.once('close', resolve));
    expect(other.process.exitCode).toBe(1);
    expect(lastLine(other)).toContain(`port ${env.PORT} on 127.0.0.1 is in use`);
  });

  test.each([
    ['a model that is not there', { MODEL_DIR: 'models/none' }, 'MODEL_DIR=models/none does not exist'],
    ['a broken model', { MODEL_FILE: 'config.json' }, 'config.json cannot be loaded'],
    ['a wrong setting', { PORT: 'http' }, 'PORT=http: must be a whole number'],
    ['a public address without keys or AUTH=none', { HOST: '0.0.0.0' }, 'set AUTH=none'],
  ])('%s', async (_name, wrong, line) => {
    launcher = new Launcher({ ...env, ...wrong });
    await new Promise((resolve) => launcher.process.once('close', resolve));
    expect(launcher.process.exitCode).toBe(1);
    expect(lastLine(launcher)).toContain(line);
  });

  test('a second launcher on the same data', async () => {
    await start();
    const other = new Launcher({ ...env, PORT: String(await freePort()) });
    await new Promise((resolve) => other.process.once('close', resolve));
    expect(other.process.exitCode).toBe(1);
    expect(lastLine(other)).toContain('another `npm start` already uses');
  });
});

const lastLine = ({ output }: Launcher): string => output.trim().split('\n').at(-1)!;

describe.skipIf(!existsSync('/proc/self/environ'))('secrets', () => {
  /** The command lines of a process and all that it has started, each with its environment. */
  function family(pid: number): { command: string; env: Map<string, string> }[] {
    const parts = (name: string) => readFileSync(`/proc/${pid}/${name}`, 'utf8').split('\0').filter(Boolean);
    const pairs = parts('environ').map((entry): [string, string] => {
      const at = entry.indexOf('=');
      return [entry.slice(0, at), entry.slice(at + 1)];
    });
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    return [
      { command: parts('cmdline').join(' '), env: new Map(pairs) },
      ...children.flatMap((child) => family(Number(child))),
    ];
  }

  test('each process has only the secrets that it reads', async () => {
    const secrets = {
      API_KEYS: keyLine('alice', newKey()),
      ADMIN_KEYS: keyLine('ops', newKey()),
      WEBHOOK_SECRET: newSecret(),
      AWS_ACCESS_KEY_ID: 'AKIAEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'aws-secret',
      HF_TOKEN: 'hf_secret',
      AMULET_API_KEY: 'am_secret',
    };
    env = { ...env, ...secrets };
    await start();
    const processes = family(launcher.process.pid!);
    const readBy = (command: string) => {
      const found = processes.filter((each) => each.command.includes(command));
      expect(found, command).toHaveLength(1);
      return Object.keys(secrets).filter((name) => (found[0]?.env.get(name) ?? '') !== '');
    };
    const aws = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'];
    expect(readBy('api/main.ts')).toEqual(['API_KEYS', 'ADMIN_KEYS', 'WEBHOOK_SECRET', ...aws]);
    expect(readBy('inference/main.ts')).toEqual(aws);
    expect(readBy('webhooks/main.ts')).toEqual(['WEBHOOK_SECRET']);
    expect(readBy('model-child.ts')).toEqual([]);
    expect(readBy('redis-server')).toEqual([]);
    const [model] = processes.filter(({ command }) => command.includes('model-child.ts'));
    expect([...model!.env.keys()].filter((name) => name.includes('REDIS'))).toEqual([]);
    for (const { command } of processes) {
      for (const secret of Object.values(secrets)) expect(command).not.toContain(secret);
    }
  });
});
