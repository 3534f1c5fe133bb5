/** Batches whose blob store vanishes, fills up or loses data, and batches at each limit of space and time. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import {
  archive,
  BatchCalls,
  complaints,
  DISTURBED,
  expectUndisturbed,
  Inside,
  tellOnFailure,
  type Answer,
  type Problem,
} from '../support/api/batches.ts';
import { OwnRedis } from '../support/redis/redis.ts';
import { provideS3 } from '../support/storage/s3.ts';
import { SmallDisk } from '../support/storage/small-disk.ts';
import { eventually, Stack, type StackOptions } from '../support/processes/stack.ts';

/** 75 chunks. */
const input = archive(450);
const s3 = await provideS3();
const disk = SmallDisk.mount('2m');
let redis: OwnRedis;
let undisturbed: string;
/** The stack of the test that runs. */
let stack: Stack | undefined;
let calls: BatchCalls;
let inside: Inside;

beforeAll(async () => {
  redis = await OwnRedis.start();
  await use({ env: DISTURBED });
  ({ text: undisturbed } = await calls.results(await calls.submit(input.body)));
});
afterAll(async () => {
  await leave();
  await redis.stop();
  if (typeof s3 !== 'string') await s3.stop();
  if (typeof disk !== 'string') disk.unmount();
});
beforeEach(() => tellOnFailure(() => stack));

/** Puts another stack in the place of the one before. */
async function use(options: Omit<StackOptions, 'redisUrl'>, redisUrl = redis.url): Promise<void> {
  await leave();
  stack = await Stack.start({ redisUrl, ...options });
  calls = new BatchCalls(stack);
  inside = new Inside(stack);
}

async function leave(): Promise<void> {
  if (!stack) return;
  inside.close();
  await stack.stop();
  stack = undefined;
}

/** So many bytes of records. */
const records = (bytes: number) => `${JSON.stringify({ text: 'x'.repeat(88) })}\n`.repeat(bytes / 100);
const streamed = (body: string) => ReadableStream.from([Buffer.from(body)]) as ReadableStream<Uint8Array>;
const batchFolders = () => {
  const folder = path.join(stack!.blobFolder, 'batches');
  return existsSync(folder) ? readdirSync(folder) : [];
};
const unfinishedFiles = () => readdirSync(path.join(stack!.blobFolder, '~tmp'));

function expectProblem({ status, headers, body }: Answer<Problem>, expected: [number, string]): void {
  expect([status, body.code]).toEqual(expected);
  if (status === 429 || status >= 500) expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  // Nothing about this machine.
  expect(JSON.stringify(body)).not.toContain(tmpdir());
}

describe('the blob store', () => {
  test('vanishes and comes back: the batch reports it, waits, and continues by itself', async () => {
    const id = await calls.submit(input.body);
    await calls.progress(id);
    const away = `${stack!.blobFolder}-away`;
    renameSync(stack!.blobFolder, away);
    try {
      const batch = await calls.until(id, ({ problem }) => problem !== null);
      expect(batch).toMatchObject({
        status: 'processing',
        problem: { code: 'blob_store_unavailable', message: 'The blob store does not work' },
        error: null,
      });
      const refused = await calls.post<Problem>(input.body);
      expectProblem(refused, [503, 'blob_store_unavailable']);
      expect(refused.body.title).toBe('The blob store does not work');
      expectProblem(await calls.call(`/v1/batches/${id}/results`), [503, 'blob_store_unavailable']);
    } finally {
      renameSync(away, stack!.blobFolder);
    }
    await expectUndisturbed(calls, inside, id, input, undisturbed);
  });

  test('loses the input: the batch fails with the reason, and continues once the input is back', async () => {
    const id = await calls.submit(input.body);
    await calls.progress(id);
    const parts = path.join(calls.folder(id), 'parts');
    renameSync(parts, `${parts}-away`);
    const failed = await calls.finished(id);
    expect(failed).toMatchObject({ status: 'failed', error: { code: 'input_lost' }, problem: null });
    // Up to the first row that is missing, and no further: a caller who comes back asks for what is behind the last.
    await inside.mark(id, 50, true);
    const { end, text } = await calls.results(id);
    await inside.mark(id, 50, false);
    expect(end).toBe('clean');
    expect(undisturbed.startsWith(text)).toBe(true);

    await calls.resume(id);
    expect(await calls.finished(id)).toMatchObject({ status: 'failed', error: { code: 'input_lost' } });
    // Whatever a worker still has of it would find the input missing, and say so.
    await eventually(async () => ((await inside.chunksInFlight()) === 0 ? true : undefined));
    renameSync(`${parts}-away`, parts);
    expect((await calls.resume(id)).status).toBe(202);
    await expectUndisturbed(calls, inside, id, input, undisturbed);
    const lines = text.split('\n').length - 1;
    const rest = await calls.results(id, `?after=${lines}`);
    expect(text + rest.text).toBe(undisturbed);
    expect(complaints(stack!.workers[0]!)).toEqual([]);
  });
});

test('the counter of stored bytes is exact after all batches are removed', async () => {
  const { body } = await calls.call<{ batches: Batch[] }>('/v1/batches?limit=100');
  expect(await inside.store.reservations.storedBytes()).toBe(
    body.batches.reduce((sum, batch) => sum + batch.input.bytes, 0),
  );
  for (const { id } of body.batches) await calls.remove(id);
  expect(await inside.store.reservations.storedBytes()).toBe(0);
  expect(batchFolders()).toEqual([]);
});

describe('quotas', () => {
  beforeAll(() => use({ workers: 0, env: { MAX_BATCH_BYTES: '100000', MAX_STORED_BYTES: '200000' } }));

  test('of a batch: 413 during the upload, which leaves nothing stored', async () => {
    expectProblem(await calls.post(streamed(records(150_000))), [413, 'body_too_large']);
    const id = await calls.open();
    expect((await calls.putPart(id, 1, streamed(records(60_000)))).status).toBe(201);
    expectProblem(await calls.putPart(id, 2, streamed(records(60_000))), [413, 'body_too_large']);
    // A stored part may be repeated, although there is no room for another one of its size.
    expect((await calls.putPart(id, 1, records(60_000))).status).toBe(200);
    expect((await calls.putPart(id, 2, records(40_000))).status).toBe(201);
    expect((await calls.get(id)).body.input.bytes).toBe(100_000);
    await calls.remove(id);
    expect(await inside.store.reservations.storedBytes()).toBe(0);
    await eventually(() => Promise.resolve(batchFolders().length === 0 ? true : undefined));
    expect(unfinishedFiles()).toEqual([]);
  });

  test('of a batch, with two uploads at once: only one is stored', async () => {
    const id = await calls.open();
    const answers = await Promise.all([1, 2].map((part) => calls.putPart(id, part, records(60_000))));
    // 413 once the first is there; while it is on its way, it may still fail.
    expect(answers.map(({ status }) => (status === 429 ? 413 : status)).sort()).toEqual([201, 413]);
    expect(readdirSync(path.join(calls.folder(id), 'parts')).length).toBe(2);
    await calls.remove(id);
  });

  test('of all batches: 429 with Retry-After, until a batch is removed', async () => {
    const ids = [await calls.open(), await calls.open(), await calls.open()] as const;
    for (const id of ids.slice(0, 2)) {
      expect((await calls.putPart(id, 1, records(90_000))).status).toBe(201);
    }
    expectProblem(await calls.putPart(ids[2], 1, records(30_000)), [429, 'quota_reached']);
    expectProblem(await calls.post(streamed(records(30_000))), [429, 'quota_reached']);
    // Nothing is lost of what was there, and it can be sent again.
    expect((await calls.putPart(ids[0], 1, records(90_000))).status).toBe(200);
    expect(await inside.store.reservations.storedBytes()).toBe(180_000);
    await calls.remove(ids[0]);
    expect((await calls.putPart(ids[2], 1, records(30_000))).status).toBe(201);
    for (const id of ids.slice(1)) await calls.remove(id);
    expect(await inside.store.reservations.storedBytes()).toBe(0);
    expect(batchFolders()).toEqual([]);
  });
});

const EXPIRING = { OPEN_BATCH_TTL_S: '1', BATCH_TTL_S: '3' };

test('expiry: an open batch loses its data when no part is uploaded, any other batch after BATCH_TTL_S', async () => {
  await use({ workers: 0, env: EXPIRING });
  const [open, canceled, queued] = [await calls.open(), await calls.open(), await calls.open()];
  for (const id of [open, canceled, queued]) await calls.putPart(id, 1, records(1000));
  await calls.delete(canceled);
  // A worker that was held up by something, and did not know yet.
  await inside.store.reportProblem(canceled, { code: 'blob_store_full', message: 'it is full' });
  expect((await calls.get(canceled)).body).toMatchObject({ status: 'canceled', problem: null });
  expect((await calls.complete(queued, [{ number: 1 }])).status).toBe(202);
  expect(await inside.store.reservations.storedBytes()).toBe(3000);

  const expired = await calls.until(open, ({ status }) => status === 'expired');
  expect(expired).toMatchObject({ error: { code: 'batch_expired' }, input: { bytes: 0 } });
  expect(await calls.results(open)).toEqual({ end: 'clean', text: '' });
  expectProblem(await calls.complete(open, [{ number: 1 }]), [409, 'batch_not_open']);
  expectProblem(await calls.putPart(open, 2, records(1000)), [409, 'batch_not_open']);

  for (const id of [open, canceled]) {
    const gone = await eventually(async () => {
      const answer = await calls.get<Problem>(id);
      return answer.status === 404 ? answer : undefined;
    });
    expect(gone.body.code).toBe('batch_not_found');
    await eventually(() => Promise.resolve(existsSync(calls.folder(id)) ? undefined : true));
  }
  // A queued batch does not expire, however long it waits for a worker.
  expect((await calls.get(queued)).body).toMatchObject({ status: 'queued', expires_at: null });
  expect(batchFolders()).toEqual([queued]);
  expect(await inside.store.reservations.storedBytes()).toBe(1000);
  expect(unfinishedFiles()).toEqual([]);
});

test('an upload longer than OPEN_BATCH_TTL_S keeps its batch open', async () => {
  if (stack?.env.OPEN_BATCH_TTL_S !== EXPIRING.OPEN_BATCH_TTL_S) await use({ workers: 0, env: EXPIRING });
  const id = await calls.open();
  async function* slowly() {
    for (let i = 0; i < 40; i++) {
      yield '{"text":"good"}\n';
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  const body = ReadableStream.from(slowly()).pipeThrough(new TextEncoderStream());
  const response = await fetch(`${stack?.url}/v1/batches/${id}/parts/1`, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/x-ndjson' },
    body,
    duplex: 'half',
  });
  expect(response.status).toBe(201);
  expect((await calls.get(id)).body).toMatchObject({ status: 'open', rows: { total: 40 } });
});

describe('a full Redis', () => {
  let full: OwnRedis;
  beforeAll(async () => {
    full = await OwnRedis.start();
    // Without admission control, which would refuse new work before Redis is full.
    await use({ env: { ...DISTURBED, MAX_REDIS_MEMORY_PERCENT: '0' } }, full.url);
  });
  afterAll(async () => {
    await leave();
    await full.stop();
  });

  test('gives 503 redis_full and leaves nothing half done; a running batch continues once memory is free', async () => {
    const [ready, empty, unwanted] = [await calls.open(), await calls.open(), await calls.open()];
    await calls.putPart(ready, 1, input.body);
    const running = await calls.submit(input.body);
    await calls.progress(running);
    await inside.redis.config('SET', 'maxmemory', '1');
    expectProblem(await calls.call('/v1/batches?open=true', { method: 'POST' }), [503, 'redis_full']);
    expectProblem(await calls.post(input.body), [503, 'redis_full']);
    // Completing a batch frees memory: it deletes the list of parts.
    expect((await calls.complete(ready, [{ number: 1 }])).status).toBe(202);
    expectProblem(await calls.putPart(empty, 1, input.body), [503, 'redis_full']);
    expect(existsSync(path.join(calls.folder(empty), 'parts'))).toBe(false);
    // Reading works, and so does removal, which frees memory.
    expect((await calls.get(running)).body.status).toBe('processing');
    expect((await calls.delete(unwanted)).status).toBe(200);
    expect((await calls.delete(unwanted)).status).toBe(204);
    // Two heartbeats: longer than any lock is held.
    const [worker] = stack!.workers;
    await eventually(() =>
      Promise.resolve(worker!.output.split('heartbeat failed').length > 2 ? true : undefined),
    );
    expect(worker!.output).toContain('chunk attempt failed');
    await inside.redis.config('SET', 'maxmemory', '0');

    for (const id of [running, ready]) await expectUndisturbed(calls, inside, id, input, undisturbed);
  });
});

describe(`a full disk${typeof disk === 'string' ? ` (skipped: ${disk})` : ''}`, () => {
  if (typeof disk === 'string') {
    test.skip('needs one', () => {});
    return;
  }
  const blobFolder = path.join(disk.folder, 'blobs');
  const env = { ...DISTURBED, BLOB_URL: `file:${blobFolder}` };
  const message = expect.stringMatching(/^The blob store has no space left: delete batches /);
  const freeBytes = () => disk.freeBytes;
  /** Removes a batch and waits until its folder's parent is gone, too: the next stack would not remove it. */
  async function removeAll(id: string): Promise<void> {
    await calls.remove(id);
    await eventually(() => Promise.resolve(existsSync(path.join(blobFolder, 'batches')) ? undefined : true));
  }
  beforeAll(() => mkdirSync(blobFolder));

  /** An upload of more than an empty disk can take is refused, and leaves no trace. */
  async function expectRefusal(bytes: number): Promise<void> {
    const before = freeBytes();
    expectProblem(await calls.post(streamed(records(bytes))), [507, 'blob_store_full']);
    const id = await calls.open();
    expectProblem(await calls.putPart(id, 1, records(bytes)), [507, 'blob_store_full']);
    expect((await calls.call<{ batches: Batch[] }>('/v1/batches')).body.batches.length).toBe(1);
    expect(readdirSync(blobFolder)).toEqual(['~tmp']);
    expect(readdirSync(path.join(blobFolder, '~tmp'))).toEqual([]);
    expect(freeBytes()).toBe(before);
    expect(await inside.store.reservations.storedBytes()).toBe(0);
    expect((await calls.putPart(id, 1, records(100_000))).status).toBe(201);
    await removeAll(id);
  }

  describe.each(['0', 'auto'])('MIN_FREE_DISK_BYTES=%s', (minFree) => {
    beforeAll(() => use({ env: { ...env, MIN_FREE_DISK_BYTES: minFree } }));

    test('refuses an upload with 507 and stores none of it', () => expectRefusal(4_000_000));

    test('delays the results: the batch reports it, and continues once there is space', async () => {
      const id = await calls.submit(input.body);
      await calls.progress(id);
      const filler = disk.fill();
      const batch = await calls.until(id, ({ problem }) => problem !== null);
      expect(batch).toMatchObject({ status: 'processing', problem: { code: 'blob_store_full', message } });
      rmSync(filler);
      await expectUndisturbed(calls, inside, id, input, undisturbed);
      expect(readdirSync(path.join(blobFolder, '~tmp'))).toEqual([]);
      await removeAll(id);
    });
  });

  test('MIN_FREE_DISK_BYTES: uploads leave all of it free, results half of it', async () => {
    await use({ env: { ...env, MIN_FREE_DISK_BYTES: '1000000' } });
    // There would be room for it.
    await expectRefusal(1_300_000);
    await stack!.workers[0]!.end();
    const id = await calls.submit(input.body);
    const filler = disk.fill(700_000);
    // The disk is looked at now and then.
    const refused = await eventually(async () => {
      const answer = await calls.post<Problem>('{"text":"good"}\n');
      return answer.status === 202 ? undefined : answer;
    });
    expectProblem(refused, [507, 'blob_store_full']);
    await eventually(() =>
      Promise.resolve(
        stack!.api.output.includes('the disk of batches has too little free space') || undefined,
      ),
    );
    stack!.workers = [stack!.startWorker()];
    const batch = await calls.until(id, ({ problem }) => problem !== null);
    expect(batch).toMatchObject({ status: 'processing', problem: { code: 'blob_store_full', message } });
    expect(batch.rows.finished).toBeGreaterThan(0);
    // About half: folders take room, too.
    expect(disk.freeBytes).toBeGreaterThan(450_000);
    rmSync(filler);
    await expectUndisturbed(calls, inside, id, input, undisturbed);
  });
});

test.skipIf(typeof s3 === 'string')(
  `a whole batch through S3 (${typeof s3 === 'string' ? `skipped: ${s3}` : s3.name})`,
  async () => {
    if (typeof s3 === 'string') return;
    const url = new URL(s3.url);
    url.pathname = '/faults';
    await use({ env: { ...DISTURBED, BULK_CHUNK_BYTES: '8000', BLOB_URL: url.href } });
    const id = await calls.open();
    const lines = input.body.split(/(?<=\n)/);
    for (const [i, part] of [lines.slice(0, 350), lines.slice(350)].entries()) {
      expect((await calls.putPart(id, i + 1, streamed(part.join('')))).status).toBe(201);
    }
    expect((await calls.complete(id, [{ number: 1 }, { number: 2 }])).status).toBe(202);
    await expectUndisturbed(calls, inside, id, input, undisturbed);
    await calls.remove(id);
    await eventually(async () => ((await inside.store.leftovers()).length === 0 ? true : undefined));
  },
);
