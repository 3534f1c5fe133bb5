/**
 * Batches whose workers, API and Redis are killed and frozen at random moments: the results are the same bytes as without,
 * and every row is counted once. A failure prints its seed; FAULT_SEED=… repeats the moments.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, onTestFailed, test } from 'vitest';
import { encodeManifest, manifestKey } from '../../src/shared/store/batches/layout.ts';
import { openBlobStore } from '../../src/shared/blobs/open.ts';
import {
  archive,
  BatchCalls,
  DISTURBED,
  expectUndisturbed,
  Inside,
  seeded,
  tellOnFailure,
  type Archive,
} from '../support/api/batches.ts';
import { standIn } from '../support/models/stand-in.ts';
import { OwnRedis } from '../support/redis/redis.ts';
import { eventually, Stack, type Process } from '../support/processes/stack.ts';

const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000);
const random = seeded(seed);
const moment = (minMs: number, maxMs: number) => sleep(minMs + random() * (maxMs - minMs));

/** 130 chunks, which two workers need three seconds for. */
const input = archive(800);
/** Its beginning. */
const small = archive(300);
const SLOW = { ...DISTURBED, ...standIn({ tokenMs: 0.15 }) };
let redis: OwnRedis;
let stack: Stack;
let calls: BatchCalls;
let inside: Inside;
let undisturbed: string;

beforeAll(async () => {
  redis = await OwnRedis.start();
  stack = await Stack.start({ redisUrl: redis.url, workers: 2, env: SLOW });
  calls = new BatchCalls(stack);
  inside = new Inside(stack);
  ({ text: undisturbed } = await calls.results(await calls.submit(input.body)));
});
afterAll(async () => {
  inside.close();
  await stack.stop();
  await redis.stop();
});
beforeEach(() => tellOnFailure(() => stack, `FAULT_SEED=${seed}`));

/** The expected results of the first rows of the input. */
const resultsOf = ({ rows }: Archive) =>
  undisturbed
    .split(/(?<=\n)/)
    .slice(0, rows)
    .join('');

/** Repeats a call until it gets a response with a status below 500. */
const acknowledged = <T extends { status: number }>(call: () => Promise<T>) =>
  eventually(async () => {
    const answer = await call().catch(() => undefined);
    return answer === undefined || answer.status >= 500 ? undefined : answer;
  });

/** Has something happen to a batch so often, while it is worked on; once it must have been. */
async function disturb(id: string, times: number, fault: () => Promise<void>): Promise<void> {
  let happened = 0;
  while (happened < times && (await calls.progress(id)).status === 'processing') {
    await fault();
    happened++;
  }
  expect(happened).toBeGreaterThan(0);
}

async function endWorker(signal: NodeJS.Signals): Promise<void> {
  const victim = random() < 0.5 ? 0 : 1;
  await stack.workers[victim]!.end(signal);
  stack.workers[victim] = stack.startWorker();
}

async function killRedis(): Promise<void> {
  await redis.kill();
  await moment(0, 500);
  await redis.restart();
}

test('workers are killed at random moments: the same bytes, nothing counted twice', async () => {
  const id = await calls.submit(input.body);
  await disturb(id, 5, async () => {
    await moment(0, 300);
    await endWorker('SIGKILL');
  });
  await expectUndisturbed(calls, inside, id, input, undisturbed);
});

/** The model processes that a worker reports. */
async function modelsOf(worker: Process): Promise<{ model_pids: number[]; model_restarts: number }> {
  const answer = await fetch(`${await stack.healthUrl(worker)}/health/live`);
  return (await answer.json()) as { model_pids: number[]; model_restarts: number };
}

test('model processes are killed: the same bytes', async () => {
  await Promise.all(stack.workers.map((worker) => worker.ready));
  const id = await calls.submit(input.body);
  const worker = stack.workers[0]!;
  let kills = 0;
  await disturb(id, 3, async () => {
    const [pid] = (await modelsOf(worker)).model_pids;
    process.kill(pid!, 'SIGKILL');
    kills++;
    await eventually(async () => {
      const { model_pids, model_restarts } = await modelsOf(worker);
      return model_restarts === kills && model_pids.length > 0 ? true : undefined;
    });
    // Rows that a kill has hit are run alone next; another kill would blame them.
    await calls.progress(id, 60);
    await moment(0, 200);
  });
  await expectUndisturbed(calls, inside, id, input, undisturbed);
});

test('a worker is frozen until another one processes its chunks: they are counted once', async () => {
  const [frozen, other] = stack.workers as [Process, Process];
  await Promise.all([frozen.ready, other.ready]);
  const [model] = (await modelsOf(other)).model_pids;
  const id = await calls.submit(input.body);
  await calls.progress(id);
  try {
    frozen.child.kill('SIGSTOP');
    // The other one lives, but comes to no end before the time of the first is up.
    process.kill(model!, 'SIGSTOP');
    const stalled = await eventually(async () => {
      const jobs = await inside.stalledChunkJobs(id);
      return jobs.length > 0 ? jobs : undefined;
    });
    process.kill(model!, 'SIGCONT');
    await eventually(async () => {
      const open = await inside.openChunkJobs(id);
      return stalled.some((job) => open.includes(job)) ? undefined : true;
    });
    expect((await calls.get(id)).body.status).toBe('processing');
  } finally {
    process.kill(model!, 'SIGCONT');
    frozen.child.kill('SIGCONT');
  }
  await expectUndisturbed(calls, inside, id, input, undisturbed);
});

/** The input in parts, as a client sends them over a slow line. */
function slowParts(count: number): (() => ReadableStream<Uint8Array>)[] {
  const lines = input.body.split(/(?<=\n)/);
  const perPart = Math.ceil(lines.length / count);
  return Array.from({ length: count }, (_, i) => {
    const part = Buffer.from(lines.slice(i * perPart, (i + 1) * perPart).join(''));
    return () => slowly(part);
  });
}

function slowly(body: Uint8Array): ReadableStream<Uint8Array> {
  async function* pieces() {
    for (let at = 0; at < body.length; at += 4096) {
      yield body.subarray(at, at + 4096);
      await sleep(15);
    }
  }
  return ReadableStream.from(pieces());
}

test('the API is killed during uploads and runs: acknowledged batches are there, the rest can be repeated', async () => {
  const enough = new AbortController();
  let kills = 0;
  const reaper = (async () => {
    while (!enough.signal.aborted) {
      await moment(50, 400);
      await stack.api.end('SIGKILL');
      kills++;
      await calls.restartApi();
    }
  })();
  const inParts = async () => {
    const { body } = await acknowledged(() =>
      calls.call<{ id: string }>('/v1/batches?open=true', { method: 'POST' }),
    );
    const named: { number: number; sha256: string }[] = [];
    for (const [i, part] of slowParts(4).entries()) {
      const answer = await acknowledged(() => calls.putPart(body.id, i + 1, part()));
      expect([200, 201]).toContain(answer.status);
      named.push({ number: i + 1, sha256: answer.body.sha256 });
    }
    expect((await acknowledged(() => calls.complete(body.id, named))).status).toBe(202);
    return body.id;
  };
  const atOnce = async () => {
    const headers = { 'Content-Type': 'application/x-ndjson', 'Idempotency-Key': `atOnce-${seed}` };
    const body = Buffer.from(small.body);
    const first = await acknowledged(() => calls.post(slowly(body), '', headers));
    const again = await acknowledged(() => calls.post(slowly(body), '', headers));
    expect([first.status, again.status, again.body.id]).toEqual([202, 202, first.body.id]);
    return first.body.id;
  };
  const [large, other] = await Promise.all([inParts(), atOnce()]);
  const uploading = kills;
  await eventually(() => Promise.resolve(kills >= uploading + 2 ? true : undefined));
  enough.abort();
  await reaper;
  await expectUndisturbed(calls, inside, large, input, undisturbed);
  await expectUndisturbed(calls, inside, other, small, resultsOf(small));
});

test('chunks that a crash kept out of the queue are enqueued', async () => {
  // As an API does that dies between completing a batch and adding its first chunks…
  const completed = await calls.open();
  await calls.putPart(completed, 1, small.body);
  const parts = await inside.store.parts.list(completed);
  const blobs = await openBlobStore(stack.env.BLOB_URL!);
  await blobs.put(manifestKey(completed, '1'), encodeManifest(parts));
  const chunks = parts[0]!.chunks;
  expect(await inside.store.complete(completed, { parts: 1, chunks, manifest: '1' })).toEqual({
    outcome: 'queued',
  });
  // …and a worker that dies between counting a chunk and adding the next ones.
  const counted = await calls.submit(small.body);
  const lost = await inside.store.chunks.claim(counted, 100);
  expect(lost).toEqual(expect.arrayContaining([20, 21, 22]));
  for (const id of [completed, counted]) {
    await expectUndisturbed(calls, inside, id, small, resultsOf(small));
  }
});

test('Redis is killed and restarted with its data: the same bytes', async () => {
  const id = await calls.submit(input.body);
  await disturb(id, 3, async () => {
    await moment(0, 300);
    await killRedis();
  });
  await expectUndisturbed(calls, inside, id, input, undisturbed);
});

test('SIGTERM: a worker finishes its chunks or returns them at once, and another one continues', async () => {
  // An unreleased lock would outlast this test.
  const patient = await Stack.start({
    redisUrl: redis.url,
    env: { ...SLOW, BULK_CHUNK_BYTES: '6000', LOCK_DURATION_MS: '600000' },
  });
  const own = new BatchCalls(patient);
  const ownInside = new Inside(patient);
  try {
    const id = await own.submit(input.body);
    for (let terms = 0; terms < 2; terms++) {
      await own.progress(id);
      await moment(0, 100);
      expect(await patient.workers[0]!.end('SIGTERM')).toBe(0);
      expect(await ownInside.chunksInFlight()).toBe(0);
      expect((await own.get(id)).body.status).toBe('processing');
      patient.workers = [patient.startWorker()];
    }
    await expectUndisturbed(own, ownInside, id, input, undisturbed);
  } finally {
    ownInside.close();
    await patient.stop();
  }
});

test('all these faults in random order: the same bytes', async () => {
  const id = await calls.submit(input.body);
  const faults = {
    workerKilled: () => endWorker('SIGKILL'),
    workerStopped: () => endWorker('SIGTERM'),
    workerFrozen: async () => {
      const { child } = stack.workers[random() < 0.5 ? 0 : 1]!;
      child.kill('SIGSTOP');
      await moment(0, 3000);
      child.kill('SIGCONT');
    },
    apiKilled: async () => {
      await stack.api.end('SIGKILL');
      await calls.restartApi();
    },
    redisKilled: killRedis,
    redisFrozen: async () => {
      redis.freeze();
      await moment(0, 2000);
      redis.thaw();
    },
  };
  const kinds = Object.keys(faults) as (keyof typeof faults)[];
  const done: string[] = [];
  onTestFailed(() => console.log(done.join(', ')));
  while (done.length < 6 && (await inside.store.read(id))?.status !== 'completed') {
    await moment(50, 500);
    const kind = kinds[Math.floor(random() * kinds.length)]!;
    done.push(kind);
    await faults[kind]();
  }
  await expectUndisturbed(calls, inside, id, input, undisturbed);
});

test('a batch of 2000 chunks has only a window of them in Redis, and its own keys stay small', async () => {
  // 2 × (1 model process + 1) for each worker. Those killed earlier count for a few seconds, new ones not at once.
  const running = stack.workers.map(({ child }) => String(child.pid)).sort();
  await eventually(async () => {
    const live = await inside.redis.zrangebyscore(`${stack.prefix}:workers:sst2-minilm`, Date.now(), '+inf');
    // host:pid:start@revision
    return isDeepStrictEqual(live.map((worker) => worker.split(':')[1]).sort(), running) ? true : undefined;
  });
  const large = archive(14_000);
  const id = await calls.submit(large.body);
  const { chunks } = (await inside.store.read(id))!;
  expect(chunks).toBeGreaterThan(2000);
  const { finished } = (await calls.progress(id)).rows;
  const jobs: number[] = [];
  const bytes: number[] = [];
  for (let rows = finished; rows < finished + 400; rows = (await calls.get(id)).body.rows.finished) {
    jobs.push((await inside.openChunkJobs(id)).length);
    bytes.push(await inside.bytes(id));
  }
  expect(Math.max(...jobs)).toBeLessThanOrEqual(8);
  // 50 bytes, and two for each of two labels, per chunk: the first chunk that is finished makes room for the checksums of all.
  expect(Math.max(...bytes)).toBeLessThan(4096 + 54 * chunks);
  await calls.remove(id);
  await eventually(async () => ((await inside.chunkJobs(id)).length === 0 ? true : undefined));
});
