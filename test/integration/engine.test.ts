/** The engine and the batcher around a model child that dies, hangs and throws. */
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { Batcher } from '../../src/worker/inference/batcher.ts';
import type { TextRow } from '../../src/worker/inference/classifier.ts';
import { EnginePool } from '../../src/worker/inference/engine-pool.ts';
import {
  Engine,
  EngineStopped,
  ModelCrashed,
  type EngineOptions,
} from '../../src/worker/inference/engine.ts';
import { crashing } from '../support/models/fragile-model.ts';
import { eventually } from '../support/processes/stack.ts';

let engine: Engine | undefined;
afterEach(async () => {
  vi.useRealTimers();
  await engine?.stop();
});

const row = (id: number): TextRow => ({
  tokens: 3,
  key: String(id),
  encoded: {
    ids: Int32Array.of(id, 1, 2),
    typeIds: undefined,
    truncated: false,
    own: 1,
    unknown: 0,
    blank: 0,
    foreign: 0,
  },
});

async function start({
  onnxFile = 'x',
  ...options
}: Partial<EngineOptions> & { onnxFile?: string } = {}): Promise<Batcher<TextRow, Float32Array>> {
  const started = await Engine.start({ ...crashing(onnxFile), ...options });
  engine = started;
  return new Batcher<TextRow, Float32Array>({
    run: (rows) => started.run(rows.map(({ encoded }) => encoded)),
    budgets: { interactive: 64, low: 64, bulk: 64 },
  });
}

/** Resolves when the model process has a batch. */
const holdsABatch = () => eventually(() => Promise.resolve(engine!.inFlight > 0 ? true : undefined));

const firstLogit = (settled: { result: Float32Array }) => settled.result[0];

test('rows come back in order', async () => {
  const batcher = await start();
  const answers = await Promise.all([5, 6, 7].map((id) => batcher.submit(row(id), 'interactive')));
  expect(answers.map(firstLogit)).toEqual([5, 6, 7]);
  expect(answers.map(({ batchRows }) => batchRows)).toEqual([3, 3, 3]);
});

describe('a row that kills the process', () => {
  test('fails alone, after two attempts; its neighbours get their results', async () => {
    const batcher = await start();
    const outcomes = await Promise.allSettled(
      [1, 666, 3, 4].map((id) => batcher.submit(row(id), 'interactive')),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect((outcomes[1] as PromiseRejectedResult).reason).toBeInstanceOf(ModelCrashed);
    expect(engine?.restarts).toBe(2);
    expect(firstLogit(await batcher.submit(row(9), 'interactive'))).toBe(9);
  });

  test('a process killed in the middle of a batch loses no row', async () => {
    const batcher = await start();
    const answers = Promise.all([669, 2, 3].map((id) => batcher.submit(row(id), 'interactive')));
    await holdsABatch();
    process.kill(engine!.pid!, 'SIGKILL');
    expect((await answers).map(firstLogit)).toEqual([669, 2, 3]);
  });
});

test('a row that makes the model throw fails alone, with the message', async () => {
  const batcher = await start();
  const outcomes = await Promise.allSettled([1, 667, 3].map((id) => batcher.submit(row(id), 'interactive')));
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect((outcomes[1] as PromiseRejectedResult).reason).toMatchObject({ message: 'the model threw' });
  expect(engine?.restarts).toBe(0);
});

test('a hanging batch: its process is killed, and only the hanging row fails', async () => {
  const batcher = await start({ runTimeoutMs: 300 });
  const outcomes = await Promise.allSettled([1, 668, 3].map((id) => batcher.submit(row(id), 'interactive')));
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
});

test('the time limit of a batch ends with its result: the process is not killed later', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const batcher = await start({ runTimeoutMs: 1000 });
  const { pid } = engine!;
  const settle = (id: number) => Promise.allSettled([batcher.submit(row(id), 'interactive')]);
  for (const id of [1, 667]) await settle(id);
  expect(vi.getTimerCount()).toBe(0);
  vi.advanceTimersByTime(1000);
  expect(await settle(2)).toMatchObject([{ status: 'fulfilled' }]);
  expect([engine!.pid, engine!.restarts]).toEqual([pid, 0]);
});

test('an engine gives up on a model process that cannot be restarted, and tells its owner', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'amulet-engine-'));
  const onnxFile = path.join(folder, 'model.onnx');
  writeFileSync(onnxFile, '');
  const told: Error[] = [];
  await start({ onnxFile, onGiveUp: (error) => told.push(error) });
  rmSync(folder, { recursive: true });
  // The pauses between its tries, ten times as fast.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const clock = setInterval(() => vi.advanceTimersByTime(100), 10);
  try {
    process.kill(engine!.pid!, 'SIGKILL');
    while (told.length === 0) await new Promise((resolve) => setImmediate(resolve));
  } finally {
    clearInterval(clock);
  }
  expect(told).toEqual([expect.objectContaining({ message: 'the model process could not be restarted' })]);
  await expect(engine!.run([row(1).encoded])).rejects.toThrow(EngineStopped);
});

test('a run is reported with its tokens, without and with padding', async () => {
  const runs: unknown[] = [];
  await start({ onRun: (run) => runs.push(run) });
  const { encoded } = row(1);
  await engine!.run([
    { ...encoded, ids: Int32Array.of(1, 2) },
    { ...encoded, ids: Int32Array.of(1, 2, 3, 4, 5) },
  ]);
  expect(runs).toMatchObject([{ rows: 2, tokens: 7, paddedTokens: 10 }]);
});

test('stop() rejects batches in flight with EngineStopped, which is not an error of their rows', async () => {
  const batcher = await start();
  const pending = batcher.submit(row(668), 'interactive');
  const caught = pending.catch((error: unknown) => error);
  await holdsABatch();
  await engine!.stop();
  expect(await caught).toBeInstanceOf(EngineStopped);
});

test('an unusable model is a StartupError with the reason', async () => {
  await start();
  const failing = Engine.start({ ...crashing('unusable'), runTimeoutMs: 1000 });
  await expect(failing).rejects.toThrow(StartupError);
  await expect(failing).rejects.toThrow('this model is no good');
});

describe('a pool', () => {
  test('continues with the others while one process restarts; every row gets its own result', async () => {
    const pool = await EnginePool.start(2, crashing());
    try {
      expect(new Set(pool.pids).size).toBe(2);
      const batcher = new Batcher<TextRow, Float32Array>({
        run: (rows) => pool.run(rows.map(({ encoded }) => encoded)),
        executors: pool.size,
        budgets: { interactive: 12, low: 12, bulk: 12 },
      });
      const ids = [...Array.from({ length: 40 }, (_, i) => i + 1), 666];
      const outcomes = await Promise.allSettled(ids.map((id) => batcher.submit(row(id), 'interactive')));
      expect(
        outcomes.slice(0, 40).map((outcome) => outcome.status === 'fulfilled' && firstLogit(outcome.value)),
      ).toEqual(ids.slice(0, 40));
      expect((outcomes[40] as PromiseRejectedResult).reason).toBeInstanceOf(ModelCrashed);
      expect(pool.restarts).toBe(2);
    } finally {
      await pool.stop();
    }
    expect(pool.pids).toEqual([]);
  });
});

describe.skipIf(!existsSync('/proc/self/fd'))('the environment and files of the model process', () => {
  const list = (pid: number | string, name: string) =>
    readFileSync(`/proc/${pid}/${name}`, 'utf8').split('\0').filter(Boolean);

  test('have no secret, no address and no connection', async () => {
    vi.stubEnv('REDIS_URL', 'redis://:secret@127.0.0.1:6379');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'secret');
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '0');
    vi.stubEnv('MY_PROVIDER', '1');
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const connection = connect((server.address() as AddressInfo).port, '127.0.0.1');
    await once(connection, 'connect');
    const sockets = (pid: number | string) =>
      readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
        try {
          const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
          return target.startsWith('socket:') ? [target] : [];
        } catch {
          // That of the folder that was just read.
          return [];
        }
      });
    const before = sockets('self');
    try {
      await start({ variables: ['MY_PROVIDER'] });
      const { pid } = engine!;
      const names = list(pid!, 'environ').map((entry) => entry.slice(0, entry.indexOf('=')));
      expect(names).toEqual(expect.arrayContaining(['PATH', 'CUDA_VISIBLE_DEVICES', 'MY_PROVIDER']));
      expect(names.filter((name) => /REDIS|AWS|KEY|SECRET|TOKEN/.test(name))).toEqual([]);
      expect([...list(pid!, 'environ'), ...list(pid!, 'cmdline')].join('\n')).not.toContain('secret');
      // Standard output and error may be sockets of whoever started the tests.
      const given = [1, 2].map((fd) => readlinkSync(`/proc/self/fd/${fd}`));
      expect(sockets(pid!).filter((each) => before.includes(each) && !given.includes(each))).toEqual([]);
      expect(before.length).toBeGreaterThan(0);
    } finally {
      connection.destroy();
      server.close();
      vi.unstubAllEnvs();
    }
  });
});
