/** MAX_STORED_BYTES and MAX_BATCH_BYTES during concurrent uploads: stored bytes never exceed them, even if an API is killed. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { request, type ClientRequest } from 'node:http';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import {
  type BatchCalls,
  type Inside,
  type Problem,
  startBatchStack,
  tellOnFailure,
} from '../support/api/batches.ts';
import { eventually, type Stack, type Process } from '../support/processes/stack.ts';

const STORED = 2_000_000;
const BATCH = 1_500_000;
const LEASE_S = 2;

let stack: Stack;
let second: Process;
let urls: string[];
let calls: BatchCalls;
let inside: Inside;
let stop: () => Promise<void>;
beforeAll(async () => {
  ({ stack, calls, inside, stop } = await startBatchStack({
    redisUrl: inject('redisUrl'),
    workers: 0,
    env: {
      MAX_STORED_BYTES: String(STORED),
      MAX_BATCH_BYTES: String(BATCH),
      UPLOAD_LEASE_S: String(LEASE_S),
    },
  }));
  second = stack.startApi();
  urls = [stack.url, await second.ready];
});
afterAll(async () => {
  await second.end();
  await stop();
});
beforeEach(() => tellOnFailure(() => stack));

/** Bytes of all inputs in the blob store, those of unfinished uploads too. */
function bytesOnDisk(): number {
  if (!existsSync(stack.blobFolder)) return 0;
  return readdirSync(stack.blobFolder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.includes('~tmp/') || name.endsWith('.data'))
    .reduce(
      (sum, name) =>
        sum + (statSync(path.join(stack.blobFolder, name), { throwIfNoEntry: false })?.size ?? 0),
      0,
    );
}

/** Records of `bytes` bytes in all. */
const records = (bytes: number) => `${JSON.stringify({ text: 'x'.repeat(88) })}\n`.repeat(bytes / 100);

/** An upload that the test sends piece by piece. */
class HeldUpload {
  readonly answer: Promise<{ status: number; code: string | undefined }>;
  readonly #request: ClientRequest;

  constructor(url: string, id: string, number: number) {
    this.#request = request(`${url}/v1/batches/${id}/parts/${number}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/x-ndjson' },
    });
    this.answer = new Promise((resolve, reject) => {
      this.#request.once('error', reject);
      this.#request.once('response', (response) => {
        let text = '';
        response.on('data', (data: Buffer) => (text += data.toString()));
        response.once('end', () =>
          resolve({ status: response.statusCode!, code: (JSON.parse(text) as Partial<Problem>).code }),
        );
      });
    });
    this.answer.catch(() => {});
  }

  send(bytes: number): void {
    this.#request.write(records(bytes));
  }

  end(): void {
    this.#request.end();
  }

  cut(): void {
    this.#request.destroy();
  }
}

/** Waits until every upload has an answer or has had its bytes reserved. */
const reserved = (bytes: number) =>
  eventually(async () => ((await inside.store.reservations.reservedBytes()) >= bytes ? true : undefined));
const nothingReserved = () =>
  eventually(async () => ((await inside.store.reservations.reservedBytes()) === 0 ? true : undefined));

describe('parallel uploads', () => {
  test('to several instances never exceed MAX_STORED_BYTES', async () => {
    const ids = await Promise.all(Array.from({ length: 10 }, () => calls.open()));
    const uploads = ids.map((id, i) => new HeldUpload(urls[i % 2]!, id, 1));
    // 12 MB in all, in turn, so that each upload gets a part of the quota.
    for (let sent = 0; sent < 1_200_000; sent += 50_000) {
      for (const upload of uploads) upload.send(50_000);
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(bytesOnDisk()).toBeLessThanOrEqual(STORED);
    }
    for (const upload of uploads) upload.end();
    const answers = await Promise.all(uploads.map(({ answer }) => answer.catch(() => undefined)));
    expect(bytesOnDisk()).toBeLessThanOrEqual(STORED);
    expect(await inside.store.reservations.storedBytes()).toBe(bytesOnDisk());
    for (const answer of answers) expect([201, 429, undefined]).toContain(answer?.status);
    expect(answers.filter((answer) => answer?.status === 429).length).toBeGreaterThan(0);
    await nothingReserved();
    for (const id of ids) await calls.remove(id);
  });

  test('to one batch never exceed MAX_BATCH_BYTES', async () => {
    const id = await calls.open();
    const uploads = [1, 2, 3].map((number) => new HeldUpload(urls[number % 2]!, id, number));
    for (const upload of uploads) {
      upload.send(600_000);
      upload.end();
    }
    const answers = await Promise.all(uploads.map(({ answer }) => answer));
    let stored = answers.filter(({ status }) => status === 201).length;
    expect((await calls.get(id)).body.input.bytes).toBe(stored * 600_000);
    expect(stored * 600_000).toBeLessThanOrEqual(BATCH);
    for (const { status, code } of answers.filter((answer) => answer.status !== 201))
      expect([status, code]).toEqual([429, 'quota_reached']);
    await nothingReserved();
    // Uploads that grow at the same pace may all be refused because of each other. One alone is not.
    if (stored === 0) {
      expect((await calls.putPart(id, 1, records(600_000))).status).toBe(201);
      stored = 1;
    }
    // A part that never fits gets 413, because waiting would not help.
    const rest = await calls.putPart<Problem>(id, 4, records(BATCH - stored * 600_000 + 100));
    expect([rest.status, rest.body.code]).toEqual([413, 'body_too_large']);
    expect((await calls.putPart(id, 4, records(BATCH - stored * 600_000))).status).toBe(201);
    await calls.remove(id);
  });

  test('of a part that is stored already store nothing', async () => {
    const id = await calls.open();
    expect((await calls.putPart(id, 1, records(1_000_000))).status).toBe(201);
    const uploads = Array.from({ length: 8 }, (_, i) => new HeldUpload(urls[i % 2]!, id, 1));
    for (const upload of uploads) upload.send(999_900);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(bytesOnDisk()).toBe(1_000_000);
    expect(await inside.store.reservations.reservedBytes()).toBe(0);
    uploads.forEach((upload, i) => {
      upload.send(i < 4 ? 100 : 200);
      upload.end();
    });
    const answers = await Promise.all(uploads.map(({ answer }) => answer));
    expect(answers.map(({ status, code }) => [status, code])).toEqual([
      ...Array.from({ length: 4 }, () => [200, undefined]),
      ...Array.from({ length: 4 }, () => [409, 'part_conflict']),
    ]);
    await calls.remove(id);
  });
});

test('a stalled upload keeps its reservation for longer than a lease; an interrupted one releases it', async () => {
  const [held, other] = [await calls.open(), await calls.open()];
  const upload = new HeldUpload(urls[0]!, held, 1);
  upload.send(1_400_000);
  await reserved(1_400_000);
  await new Promise((resolve) => setTimeout(resolve, 1.5 * LEASE_S * 1000));
  const refused = await calls.putPart<Problem>(other, 1, records(700_000));
  expect([refused.status, refused.body.code]).toEqual([429, 'quota_reached']);
  expect(refused.body.detail).toMatch(
    /^all batches and current uploads together may have at most 2000000 bytes; /,
  );
  upload.cut();
  await nothingReserved();
  expect((await calls.putPart(other, 1, records(700_000))).status).toBe(201);
  for (const id of [held, other]) await calls.remove(id);
});

test('a reservation of a killed instance is released when its lease expires', async () => {
  const [lost, other] = [await calls.open(), await calls.open()];
  const doomed = stack.startApi();
  const upload = new HeldUpload(await doomed.ready, lost, 1);
  upload.send(1_400_000);
  await reserved(1_400_000);
  await doomed.end('SIGKILL');
  expect((await calls.putPart(other, 1, records(700_000))).status).toBe(429);
  await eventually(async () =>
    (await calls.putPart(other, 1, records(700_000))).status === 201 ? true : undefined,
  );
  expect(await inside.store.reservations.reservedBytes()).toBe(0);
  expect(await inside.store.reservations.storedBytes()).toBe(700_000);
  for (const id of [lost, other]) await calls.remove(id);
});
