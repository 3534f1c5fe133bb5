/** `npm start` makes files and sockets for its user alone, uses none of other users, and supervises its processes. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, totalmem } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SupervisedProcess, type SupervisedProcessOptions } from '../../src/launcher/supervised-process.ts';
import { makeDataDir } from '../../src/launcher/data-dir.ts';
import { startPrivateRedis } from '../../src/launcher/private-redis.ts';
import { maxMemory } from '../../src/launcher/redis-limits.ts';
import { RedisSupervisor } from '../../src/launcher/redis-supervisor.ts';
import { lockDataDir } from '../../src/launcher/data-dir-lock.ts';
import { readOrCreateWebhookSecret } from '../../src/launcher/webhook-secret.ts';
import { SmallDisk } from '../support/storage/small-disk.ts';
import { eventually } from '../support/processes/stack.ts';

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'amulet-launcher-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

test('only its user can read the data folder, the secret, and the private Redis', async () => {
  const dataDir = path.join(folder, 'data');
  await lockDataDir(dataDir);
  makeDataDir(dataDir);
  readOrCreateWebhookSecret(dataDir);
  const redis = await startPrivateRedis(dataDir, () => {});
  try {
    for (const name of ['', 'webhook-secret', 'redis', 'redis/redis.sock'])
      expect([name, statSync(path.join(dataDir, name)).mode & 0o077]).toEqual([name, 0]);
  } finally {
    await redis.stop();
  }
});

test('a Redis left by an earlier launcher is supervised too', async () => {
  const dataDir = path.join(folder, 'data');
  const first = await startPrivateRedis(dataDir, () => {});
  const ends: string[] = [];
  const second = await startPrivateRedis(dataDir, (how) => ends.push(how));
  expect(second).toMatchObject({ url: first.url, detail: 'still running from an earlier start' });
  const redis = new Redis(first.url.slice('unix://'.length));
  try {
    // A connection that is closed is not a server that has ended.
    await redis.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await eventually(
      async () => ((await redis.client('LIST')) as string).split('\n').length > 2 || undefined,
    );
    expect(ends).toEqual([]);
  } finally {
    redis.disconnect();
    await first.stop();
  }
  await eventually(() => Promise.resolve(ends.length > 0 || undefined));
  expect(ends).toEqual(['its connection closed']);

  const third = await startPrivateRedis(dataDir, () => {});
  const fourth = await startPrivateRedis(dataDir, (how) => ends.push(how));
  await fourth.stop();
  // The one that took it over has stopped it: its socket is gone, and the one that started it has nothing to do.
  expect(existsSync(first.url.slice('unix://'.length))).toBe(false);
  await third.stop();
  expect(ends).toHaveLength(1);
});

describe('the data of the private Redis', () => {
  const dataDir = () => path.join(folder, 'data');
  const file = () => path.join(dataDir(), 'redis', 'appendonlydir', 'appendonly.aof.1.incr.aof');
  const run = async <T>(use: (redis: Redis) => Promise<T>): Promise<T> => {
    const server = await startPrivateRedis(dataDir(), () => {});
    await server.loaded();
    const redis = new Redis(server.url.slice('unix://'.length));
    try {
      return await use(redis);
    } finally {
      redis.disconnect();
      await server.stop();
    }
  };

  test('whose end a crash has cut off is loaded without it', async () => {
    await run((redis) => redis.mset('a', '1', 'b', '2'));
    await run((redis) => redis.set('c', '3'));
    truncateSync(file(), statSync(file()).size - 3);
    expect(await run((redis) => redis.mget('a', 'b', 'c'))).toEqual(['1', '2', null]);
  });

  test('that is damaged in the middle is one line with a cure', async () => {
    await run((redis) => redis.mset('a', '1', 'b', '2'));
    const text = readFileSync(file(), 'latin1');
    writeFileSync(file(), text.replace('mset', 'm\0et').replace('$4', '$x'), 'latin1');
    const starting = startPrivateRedis(dataDir(), () => {}).then((server) => server.loaded());
    await expect(starting).rejects.toThrow(
      /^redis-server ended .*Bad file format .*: restore \S+ from a backup, or copy it and run redis-check-aof --fix \S+, which cuts off what cannot be read$/,
    );
  });

  test('files of a killed rewrite are removed', async () => {
    await run((redis) => redis.set('a', '1'));
    const left = [
      path.join(dataDir(), 'redis', 'temp-rewriteaof-bg-12345.aof'),
      `${path.dirname(file())}/temp-x.incr`,
    ];
    for (const name of left) writeFileSync(name, 'x');
    expect(await run((redis) => redis.get('a'))).toBe('1');
    for (const name of left) expect(existsSync(name)).toBe(false);
  });
});

describe('a private Redis that ends', () => {
  const said: string[] = [];
  const server = () => {
    const { stdout } = spawnSync('pgrep', ['-f', `redis-server.*${folder}`], { encoding: 'utf8' });
    return Number(stdout.trim() || Number.NaN);
  };
  const answers = async (url: string) => {
    const redis = new Redis(url.slice('unix://'.length), {
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
    });
    redis.on('error', () => {});
    try {
      return await redis.get('kept');
    } catch {
      return undefined;
    } finally {
      redis.disconnect();
    }
  };

  test('is restarted until it stays up, whatever prevents that', async () => {
    said.length = 0;
    const dataDir = path.join(folder, 'data');
    let stopping = false;
    const supervisor = new RedisSupervisor({
      dataDir,
      redis: {},
      print: (line) => said.push(line),
      isStopping: () => stopping,
      sweep: () => Promise.resolve(),
    });
    const url = (await supervisor.start())!;
    try {
      const redis = new Redis(url.slice('unix://'.length));
      await redis.set('kept', 'yes');
      redis.disconnect();
      for (let deaths = 1; deaths <= 2; deaths++) {
        process.kill(server(), 'SIGKILL');
        await eventually(() =>
          Promise.resolve(said.filter((line) => line.includes('always')).length > deaths || undefined),
        );
        expect(await answers(url)).toBe('yes');
      }
      // A cause is said once.
      expect(said.filter((line) => line.startsWith('died'))).toEqual([
        'died (SIGKILL); restarting until it stays up',
      ]);

      const data = path.join(dataDir, 'redis');
      renameSync(data, `${data}-away`);
      writeFileSync(data, '');
      process.kill(server(), 'SIGKILL');
      await eventually(() => Promise.resolve(said.find((line) => line.includes('a file has this name'))));
      rmSync(data);
      renameSync(`${data}-away`, data);
      await eventually(async () => ((await answers(url)) === 'yes' ? true : undefined));
    } finally {
      stopping = true;
      await supervisor.stop();
    }
  });
});

const disk = SmallDisk.mount('20m');
test.skipIf(typeof disk === 'string')(
  `the file of the private Redis is not rewritten when there is no room for that${typeof disk === 'string' ? ` (skipped: ${disk})` : ''}`,
  async () => {
    const { folder: root } = disk as SmallDisk;
    const redis = await startPrivateRedis(path.join(root, 'data'), () => {});
    const connection = new Redis(redis.url.slice('unix://'.length));
    try {
      await redis.loaded();
      const percent = async () => (await connection.config('GET', 'auto-aof-rewrite-percentage'))[1];
      expect(await percent()).toBe('100');
      // Redis may hold the command a second time for a while: what is free afterwards must be more than twice the value.
      await connection.set('large', 'x'.repeat(4_000_000));
      const filler = (disk as SmallDisk).fill(2_000_000);
      await redis.loaded();
      expect(await percent()).toBe('0');
      rmSync(filler);
      await redis.loaded();
      expect(await percent()).toBe('100');
    } finally {
      connection.disconnect();
      await redis.stop();
      (disk as SmallDisk).unmount();
    }
  },
);

describe('the memory of the private Redis', () => {
  const limits = (maxBytes: number, admissionPercent = 80) => ({ limits: { maxBytes, admissionPercent } });

  test('is limited to a quarter of the memory by default', () => {
    const quarter = Math.min(totalmem(), process.constrainedMemory() || Infinity) / 4;
    expect(maxMemory(1000, { maxBytes: 0, admissionPercent: 80 })).toBe(Math.floor(quarter));
    expect(maxMemory(1000, { maxBytes: 5_000_000, admissionPercent: 80 })).toBe(5_000_000);
  });

  test.each([50, 80, 95])(
    'that accepted work needs is there, with no room for more at %i %%',
    (admissionPercent) => {
      for (const used of [5_000_000, 50_000_000]) {
        const max = maxMemory(used, { maxBytes: 5_000_000, admissionPercent });
        expect(max).toBeGreaterThan(used);
        expect((used / max) * 100).toBeGreaterThan(admissionPercent);
      }
    },
  );

  test('limits are updated in a running Redis too, and never fall below its data', async () => {
    const dataDir = path.join(folder, 'data');
    const first = await startPrivateRedis(dataDir, () => {}, limits(50_000_000));
    await first.loaded();
    const redis = new Redis(first.url.slice('unix://'.length));
    try {
      const maxmemory = async () => Number((await redis.config('GET', 'maxmemory'))[1]);
      expect(await maxmemory()).toBe(50_000_000);
      expect(await redis.config('GET', 'maxmemory-policy')).toEqual(['maxmemory-policy', 'noeviction']);
      for (let i = 0; i < 20; i++) await redis.set(`key ${i}`, 'x'.repeat(1_000_000));
      const second = await startPrivateRedis(dataDir, () => {}, limits(10_000_000));
      await second.loaded();
      expect(await maxmemory()).toBeGreaterThan(20_000_000);
      expect(await maxmemory()).toBeLessThan(40_000_000);
      // What ends accepted work is written, and as there is less of it the limit comes down.
      await redis.set('outcome', 'x');
      await redis.flushall();
      await second.loaded();
      expect(await maxmemory()).toBe(10_000_000);
      await second.stop();
    } finally {
      redis.disconnect();
      await first.stop();
    }
  });
});

test.each(['nothing', 'the socket of a launcher that was killed'])(
  'of two launchers that start at once, where there is %s, one holds the folder',
  async (before) => {
    const dataDir = path.join(folder, 'data');
    if (before !== 'nothing') {
      const url = JSON.stringify(new URL('../../src/launcher/data-dir-lock.ts', import.meta.url));
      const hold = `const { lockDataDir } = await import(${url}); await lockDataDir(${JSON.stringify(dataDir)});`;
      const killed = spawnSync(process.execPath, [
        '--input-type=module',
        '-e',
        `${hold} process.kill(process.pid, 'SIGKILL');`,
      ]);
      expect(killed.signal).toBe('SIGKILL');
    }
    const held = await Promise.allSettled([lockDataDir(dataDir), lockDataDir(dataDir)]);
    expect(held.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    await expect(lockDataDir(dataDir)).rejects.toThrow('another `npm start` already uses');
  },
);

test.each([
  ['while it starts', ''],
  ['before it has begun to', 'await new Promise((resolve) => process.once("disconnect", resolve));'],
])('a part whose launcher is gone %s does not come up', async (_, before) => {
  const [shutdown, logger] = ['shutdown', 'logger'].map((name) =>
    JSON.stringify(new URL(`../../src/shared/runtime/${name}.ts`, import.meta.url)),
  );
  const script = `
    import { runMain } from ${shutdown};
    import { createLogger } from ${logger};
    process.send("here");
    ${before}
    await runMain(createLogger("api", "fatal"), () => new Promise((resolve) => setTimeout(resolve, 600_000)));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve) => child.once('message', resolve));
  child.disconnect();
  expect(await ended).toBe(1);
});

test('a process that is stopped as soon as it is ready ends', async () => {
  const [shutdown, logger] = ['shutdown', 'logger'].map((name) =>
    JSON.stringify(new URL(`../../src/shared/runtime/${name}.ts`, import.meta.url)),
  );
  const script = `
    import { onShutdown, runMain } from ${shutdown};
    import { createLogger } from ${logger};
    const quiet = createLogger("api", "fatal");
    await runMain(quiet, async () => {
      process.kill(process.pid, "SIGTERM");
      onShutdown(quiet, 1000, () => Promise.resolve());
      setTimeout(() => process.exit(3), 5000);
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
  expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(0);
});

const supervise = (entry: string, print: SupervisedProcessOptions['print']) =>
  new SupervisedProcess({
    name: 'part',
    entry: pathToFileURL(entry),
    env: process.env,
    logDir: folder,
    logs: { maxBytes: 1e6, maxFiles: 2 },
    print,
    onUnusable: () => {},
  });

test('a part is found wherever the program lies', async () => {
  const entry = path.join(folder, 'a part.ts');
  writeFileSync(entry, "process.send({ ready: 'here' });\nsetInterval(() => {}, 1000);\n");
  const said: string[] = [];
  const part = supervise(entry, (_, line) => said.push(line));
  try {
    expect([await Promise.race([part.ready, eventually(() => Promise.resolve(said[0]))])]).toEqual(['here']);
  } finally {
    await part.stop();
  }
});

test('shows warnings once for all connections, and their end, but no other lines of the log', async () => {
  const entry = path.join(folder, 'part.ts');
  const lost = { level: 40, msg: 'Redis connection error', reason: 'refused' };
  const back = { level: 30, msg: 'connected again', recovered: true };
  const lines = [lost, lost, { level: 30, msg: 'progress' }, back, back, lost];
  writeFileSync(
    entry,
    `for (const line of ${JSON.stringify(lines)}) console.log(JSON.stringify(line));
    process.send({ ready: 'here' });
    setInterval(() => {}, 1000);`,
  );
  const said: string[] = [];
  const part = new SupervisedProcess({
    name: 'part',
    entry: pathToFileURL(entry),
    env: process.env,
    logDir: folder,
    logs: { maxBytes: 1e6, maxFiles: 2 },
    print: (_, line) => said.push(line),
    onUnusable: () => {},
  });
  try {
    await eventually(() => Promise.resolve(said.length >= 3 || undefined));
  } finally {
    await part.stop();
  }
  const warning = 'Redis connection error: refused';
  expect(said).toEqual([warning, 'connected again', warning]);
  expect(readFileSync(path.join(folder, 'part.log'), 'utf8').trim().split('\n')).toHaveLength(lines.length);
});

test('a process whose children outlive it is restarted without them, and stopped with them', async () => {
  const entry = path.join(folder, 'part.ts');
  const children = path.join(folder, 'children');
  writeFileSync(
    entry,
    `import { spawn } from 'node:child_process';
    import { appendFileSync, readFileSync } from 'node:fs';
    const file = ${JSON.stringify(children)};
    appendFileSync(file, spawn('sleep', ['600'], { stdio: 'inherit' }).pid + '\\n');
    if (readFileSync(file, 'utf8').trim().split('\\n').length === 1) process.kill(process.pid, 'SIGKILL');
    process.send({ ready: 'here' });
    setInterval(() => {}, 1000);`,
  );
  const part = supervise(entry, () => {});
  expect(await part.ready).toBe('here');
  await part.stop();
  const pids = readFileSync(children, 'utf8').trim().split('\n').map(Number);
  expect(pids).toHaveLength(2);
  for (const pid of pids) await eventually(() => Promise.resolve(isThere(pid) ? undefined : true));
});

/** Whether there is such a process, other than one whose end nobody has asked for yet. */
function isThere(pid: number): boolean {
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' });
  return stdout.trim() !== '' && !stdout.startsWith('Z');
}

describe.skipIf(!isRoot)(`another user${isRoot ? '' : ' (skipped: only root can be one)'}`, () => {
  let server: ChildProcess | undefined;

  afterEach(async () => {
    const gone = new Promise((resolve) => server?.once('exit', resolve));
    server?.kill();
    await gone;
  });

  test('a server at the socket path is not taken for the private Redis', async () => {
    // So long a path is no address of a socket: it then lies in the folder for temporary files, where all may write.
    const dataDir = path.join(folder, 'x'.repeat(100));
    const hash = createHash('sha256').update(path.join(dataDir, 'redis')).digest('hex').slice(0, 16);
    const socket = path.join(tmpdir(), `amulet-${hash}.sock`);
    chownSync(folder, NOBODY, NOBODY);
    server = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', folder], {
      uid: NOBODY,
      gid: NOBODY,
      stdio: 'ignore',
    });
    await eventually(() => Promise.resolve(existsSync(socket) || undefined));
    await expect(startPrivateRedis(dataDir, () => {})).rejects.toThrow(`${socket} belongs to another user`);
  });
});
