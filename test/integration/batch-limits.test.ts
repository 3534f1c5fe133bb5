/** Limits on the CSV headers, parts, chunks and number of batches, which bound what batches take of Redis. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import { type BatchCalls, type Inside, type Problem, startBatchStack } from '../support/api/batches.ts';
import { eventually, type Stack } from '../support/processes/stack.ts';

describe('a CSV header', () => {
  let calls: BatchCalls;
  let inside: Inside;
  let stop: () => Promise<void>;
  beforeAll(async () => {
    ({ calls, inside, stop } = await startBatchStack({
      redisUrl: inject('redisUrl'),
      env: { MAX_CSV_COLUMNS: '1000', MAX_CSV_HEADER_BYTES: '8000' },
    }));
  });
  afterAll(() => stop());

  const put = (id: string, number: number, body: string | Buffer<ArrayBuffer>, gzip = false) =>
    calls.call<Problem>(`/v1/batches/${id}/parts/${number}`, {
      method: 'PUT',
      body,
      headers: { 'content-type': 'text/csv', ...(gzip && { 'content-encoding': 'gzip' }) },
    });
  const open = async (query = '', body?: string) =>
    calls.call<Batch & Problem>(`/v1/batches?open=true&format=csv${query}`, {
      method: 'POST',
      ...(body !== undefined && { body, headers: { 'content-type': 'text/csv' } }),
    });
  const wide = (columns: number, name = 'c') => `text${`,${name}`.repeat(columns - 1)}`;

  test('beyond a limit gives 422 with the limit and the cure, on every way of sending it', async () => {
    const columns = 'the header has 1001 columns; at most 1000 are allowed (MAX_CSV_COLUMNS)';
    const bytes = 'the header has more than 8000 bytes (MAX_CSV_HEADER_BYTES)';
    for (const [header, detail] of [
      [wide(1001), columns],
      [`text,${'x'.repeat(8000 - 4)}`, bytes],
    ] as const) {
      const { id } = (await open()).body;
      const answers = [
        await put(id, 1, `${header}\na\n`),
        await open(`&columns=${header}`),
        await open('', header),
        await calls.post<Problem>(`${header}\na\n`, '', { 'content-type': 'text/csv' }),
      ];
      for (const { status, body } of answers) {
        expect([status, body.code]).toEqual([422, 'invalid_request']);
        expect(body.detail).toBe(`${detail}: keep the columns with text and id, and leave out the others`);
      }
      expect((await calls.get(id)).body.input).toMatchObject({ bytes: 0, parts: 0 });
    }
    for (const header of [wide(1000), `text,${'x'.repeat(8000 - 5)}`]) {
      expect((await open(`&columns=${header}`)).status).toBe(201);
      expect((await open('', header)).status).toBe(201);
      expect((await put((await open()).body.id, 1, `${header}\n`)).status).toBe(201);
    }
  });

  test.each([
    ['text/csv; charset=utf-8', 'Content-Type text/csv', 'format=csv', 'text,id'],
    [
      'Text/Tab-Separated-Values',
      'Content-Type text/tab-separated-values',
      'format=csv&delimiter=tab',
      'text\tid',
    ],
  ])('%s without `format` opens no batch, with and without a body', async (type, named, query, header) => {
    for (const body of [header, undefined]) {
      const call = (more: string) =>
        calls.call<Batch & Problem>(`/v1/batches?open=true${more}`, {
          method: 'POST',
          headers: { 'content-type': type },
          ...(body !== undefined && { body }),
        });
      const refused = await call('');
      expect([refused.status, refused.body.code]).toEqual([422, 'invalid_request']);
      expect(refused.body.detail).toBe(
        `${named} does not name the format of an upload in parts: add &${query}`,
      );
      expect((await call(`&${query}`)).status).toBe(201);
    }
  });

  test.each([
    undefined,
    'text/plain;charset=UTF-8',
    'application/x-www-form-urlencoded',
    'application/x-ndjson',
  ])('the type %s, which clients send on their own, opens a batch for NDJSON', async (type) => {
    const { status, body } = await calls.call<Batch>('/v1/batches?open=true', {
      method: 'POST',
      ...(type !== undefined && { headers: { 'content-type': type } }),
    });
    expect([status, body.input.format]).toEqual([201, 'ndjson']);
  });

  test('of many columns takes a few hundred bytes per part in Redis, and the labels are the same', async () => {
    const header = wide(1000, 'column');
    const records = [`utterly charming${',x'.repeat(999)}`, header, `a mess${',x'.repeat(998)}`];
    const { id } = (await open()).body;
    const bytes = await inside.bytes(id);
    const parts = 50;
    for (let number = 1; number <= parts; number++) {
      const part = gzipSync(`${header}\n${records.join('\n')}\n`);
      expect((await put(id, number, part, true)).status).toBe(201);
    }
    expect(((await inside.bytes(id)) - bytes) / parts).toBeLessThan(600);
    const numbers = Array.from({ length: parts }, (_, i) => ({ number: i + 1 }));
    expect((await calls.complete(id, numbers)).status).toBe(202);
    await calls.finished(id);
    const rows = (await calls.results(id)).text.trimEnd().split('\n');
    expect(rows).toHaveLength(3 * parts);
    expect(rows.slice(0, 3).map((row) => JSON.parse(row) as object)).toMatchObject([
      { line: 2, label: 'POSITIVE' },
      { line: 3, error: { message: 'the record repeats the header: were two files joined?' } },
      { line: 4, error: { message: 'the record has 999 fields, but the header has 1000' } },
    ]);
  });

  test('of many columns, given when the batch was opened, is used by every part', async () => {
    const header = `who,${wide(900, 'column')}`;
    const { body } = await open('&id_field=who&first_line=2', header);
    // Redis rounds up what it allocates: 1,264 bytes at times.
    expect(await inside.bytes(body.id)).toBeLessThan(header.length / 4);
    for (const number of [1, 2])
      expect((await put(body.id, number, `r${number},fine${',x'.repeat(899)}\n`)).status).toBe(201);
    await calls.complete(body.id, [{ number: 1 }, { number: 2 }]);
    await calls.finished(body.id);
    const { text } = await calls.results(body.id);
    expect(
      text
        .trimEnd()
        .split('\n')
        .map((row) => JSON.parse(row) as object),
    ).toMatchObject([
      { line: 2, id: 'r1', label: 'POSITIVE' },
      { line: 3, id: 'r2', label: 'POSITIVE' },
    ]);
  });
});

describe('limits of one API key', () => {
  const MAX_OPEN = 3;
  const MAX_PARTS = 5;
  const MAX_KEPT = 6;
  let stack: Stack;
  let calls: BatchCalls;
  let inside: Inside;
  let stop: () => Promise<void>;
  beforeAll(async () => {
    ({ stack, calls, inside, stop } = await startBatchStack({
      redisUrl: inject('redisUrl'),
      workers: 0,
      env: {
        MAX_OPEN_BATCHES: String(MAX_OPEN),
        MAX_OPEN_PARTS: String(MAX_PARTS),
        MAX_BATCH_PARTS: '4',
        MAX_KEPT_BATCHES: String(MAX_KEPT),
      },
    }));
  });
  afterAll(() => stop());

  const open = (headers: Record<string, string> = {}) =>
    calls.call<Batch & Problem>('/v1/batches?open=true', { method: 'POST', headers });
  const refusal = ({ status, headers, body }: Awaited<ReturnType<typeof open>>) => {
    expect([status, body.code]).toEqual([429, 'quota_reached']);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    return body.detail;
  };
  const keys = () => inside.redis.keys(`${stack.prefix}:*`);

  test('a batch that an API of an earlier version closed no longer counts as open', async () => {
    const ids: string[] = [];
    for (let i = 0; i < MAX_OPEN; i++) ids.push((await open()).body.id);
    await calls.delete(ids[0]!);
    await inside.redis.hset(`${stack.prefix}:batches-open:everybody`, ids[0]!, 1);
    const again = await open();
    expect(again.status).toBe(201);
    for (const id of [...ids, again.body.id]) await calls.remove(id);
  });

  test('open batches: one more is refused and leaves no key, until one is completed or canceled', async () => {
    const ids: string[] = [];
    for (let i = 0; i < MAX_OPEN; i++) ids.push((await open()).body.id);
    const before = (await keys()).sort();
    expect(refusal(await open())).toBe(
      'a key may have at most 3 open batches; complete or cancel some (GET /v1/batches?status=open lists them, DELETE /v1/batches/{id} cancels one), or wait until they expire',
    );
    refusal(await open({ 'idempotency-key': 'refused' }));
    refusal(await calls.post<Batch & Problem>('{"text":"a"}\n'));
    expect((await keys()).sort()).toEqual(before);
    await calls.delete(ids[0]!);
    const fourth = await open({ 'idempotency-key': 'refused' });
    expect(fourth.status).toBe(201);
    // A repeat opens none.
    expect((await open({ 'idempotency-key': 'refused' })).body.id).toBe(fourth.body.id);
    refusal(await open());
    await calls.putPart(ids[1]!, 1, '{"text":"a"}\n');
    await calls.complete(ids[1]!, [{ number: 1 }]);
    expect((await open()).status).toBe(201);
    for (const { id } of (await calls.call<{ batches: Batch[] }>('/v1/batches')).body.batches)
      await calls.remove(id);
    expect(await inside.redis.exists(`${stack.prefix}:batches-open:everybody`)).toBe(0);
  });

  test('parts: at most MAX_BATCH_PARTS of a batch, and MAX_OPEN_PARTS of all open batches', async () => {
    const [first, second] = [(await open()).body.id, (await open()).body.id];
    for (let number = 1; number <= 4; number++)
      expect((await calls.putPart(first, number, '{"text":"a"}\n')).status).toBe(201);
    const fifth = await calls.putPart<Problem>(first, 5, '{"text":"a"}\n');
    expect([fifth.status, fifth.body.code]).toEqual([422, 'invalid_request']);
    expect((await calls.putPart(second, 1, '{"text":"a"}\n')).status).toBe(201);
    const bytes = await inside.bytes(second);
    const refused = await calls.putPart<Batch & Problem>(second, 2, '{"text":"a"}\n');
    expect(refusal(refused)).toMatch(/^the open batches of a key may have at most 5 parts together; /);
    expect(await inside.bytes(second)).toBe(bytes);
    // A stored part may be repeated; a completed batch no longer counts.
    expect((await calls.putPart(first, 4, '{"text":"a"}\n')).status).toBe(200);
    const parts = [1, 2, 3, 4].map((number) => ({ number }));
    expect((await calls.complete(first, parts)).status).toBe(202);
    expect((await calls.putPart(second, 2, '{"text":"a"}\n')).status).toBe(201);
    for (const id of [first, second]) await calls.remove(id);
    expect(await inside.store.reservations.reservedBytes()).toBe(0);
  });

  test('kept batches: one more is refused until one is deleted', async () => {
    const ids: string[] = [];
    for (let i = 0; i < MAX_KEPT; i++) ids.push(await calls.submit('{"text":"a"}\n'));
    const refused = await calls.post<Batch & Problem>('{"text":"a"}\n');
    expect(refusal(refused)).toBe(
      'a key may have at most 6 batches; remove finished ones with DELETE /v1/batches/{id}, or wait until they expire',
    );
    await calls.remove(ids[0]!);
    expect((await calls.post('{"text":"a"}\n')).status).toBe(202);
  });

  test('an empty open batch takes less than 2 KB of Redis, all keys included', async () => {
    const { batches } = (await calls.call<{ batches: Batch[] }>('/v1/batches')).body;
    for (const { id } of batches) await calls.remove(id);
    const sizes = async () => {
      const all = await Promise.all(
        (await keys()).map((key) => inside.redis.memory('USAGE', key, 'SAMPLES', 0)),
      );
      return all.reduce<number>((sum, size) => sum + (size ?? 0), 0);
    };
    const before = await sizes();
    const { body } = await open({ 'idempotency-key': 'x'.repeat(255) });
    expect((await sizes()) - before).toBeLessThan(2000);
    await calls.remove(body.id);
  });
});

describe('chunks of a batch', () => {
  const RECORD = '{"text":"so good"}\n';
  const detail =
    'a batch may have at most 4 chunks (MAX_BATCH_CHUNKS) of up to 4096 records; submit the input as several batches, or have MAX_BATCH_CHUNKS or BULK_CHUNK_BYTES raised';
  let calls: BatchCalls;
  let inside: Inside;
  let stop: () => Promise<void>;
  beforeAll(async () => {
    ({ calls, inside, stop } = await startBatchStack({
      redisUrl: inject('redisUrl'),
      // Each record is a chunk.
      env: { MAX_BATCH_CHUNKS: '4', BULK_CHUNK_BYTES: String(RECORD.length) },
    }));
  });
  afterAll(() => stop());

  /** Records, and no end before `end` resolves. */
  function held(records: number, end: Promise<void>): ReadableStream<Uint8Array> {
    return new ReadableStream({
      async start(controller) {
        controller.enqueue(Buffer.from(RECORD.repeat(records)));
        await end;
        controller.close();
      },
    });
  }
  const stored = (id: string) =>
    readdirSync(path.join(calls.folder(id), 'parts')).filter((name) => /^\d/.test(name));

  test('up to the limit are labelled; one more gives 413 and leaves nothing stored', async () => {
    const id = await calls.submit(RECORD.repeat(4));
    expect(await calls.finished(id)).toMatchObject({ status: 'completed', rows: { finished: 4 } });
    await calls.remove(id);
    const { status, body } = await calls.post<Problem>(RECORD.repeat(5));
    expect([status, body.code, body.detail]).toEqual([413, 'body_too_large', detail]);
    expect((await calls.call<{ batches: Batch[] }>('/v1/batches')).body.batches).toEqual([]);
    expect(await inside.store.reservations.reservedBytes()).toBe(0);
  });

  test('too many are refused before the upload has ended', async () => {
    let end = () => {};
    const ended = new Promise<void>((resolve) => (end = resolve));
    const id = await calls.open();
    // Records of other parts count.
    expect((await calls.putPart(id, 1, RECORD.repeat(2))).status).toBe(201);
    // More than the 64 KB that are looked at first.
    const { status, body } = await calls.putPart<Problem>(id, 2, held(5000, ended));
    expect([status, body.code, body.detail]).toEqual([413, 'body_too_large', detail]);
    end();
    await calls.delete(id);
    await calls.remove(id);
  });

  test('two parts that race for the last chunks: one is added, the other leaves nothing stored', async () => {
    let end = () => {};
    const ended = new Promise<void>((resolve) => (end = resolve));
    const id = await calls.open();
    const racing = [1, 2].map((number) => calls.putPart<Problem>(id, number, held(3, ended)));
    // Each has reserved room, and so has seen a batch without parts.
    await eventually(async () =>
      (await inside.store.reservations.reservedBytes()) > 2 * 65_536 ? true : undefined,
    );
    end();
    const answers = await Promise.all(racing);
    const refused = answers.findIndex(({ status }) => status === 413);
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 413]);
    expect(answers[refused]!.body).toMatchObject({ code: 'body_too_large', detail });
    const winner = refused === 0 ? 2 : 1;
    expect(stored(id).map((name) => Number(name.split('-', 1)[0]))).toEqual([winner, winner]);
    // A repeated part counts once.
    expect((await calls.putPart(id, winner, RECORD.repeat(3))).status).toBe(200);
    expect((await calls.putPart(id, 3, RECORD)).status).toBe(201);
    expect((await calls.putPart(id, 4, RECORD)).status).toBe(413);
    expect((await calls.complete(id, [{ number: winner }, { number: 3 }])).status).toBe(202);
    expect(await calls.finished(id)).toMatchObject({ status: 'completed', rows: { finished: 4 } });
    await calls.remove(id);
    expect(await inside.store.reservations.reservedBytes()).toBe(0);
  });
});

describe('data of an earlier version', () => {
  let stack: Stack;
  let calls: BatchCalls;
  let inside: Inside;
  let stop: () => Promise<void>;
  beforeAll(async () => {
    // Megabytes in one call to Redis take longer than its deadline on a busy machine.
    ({ stack, calls, inside, stop } = await startBatchStack({
      redisUrl: inject('redisUrl'),
      env: { REDIS_TIMEOUT_MS: '30000' },
    }));
  });
  afterAll(() => stop());

  const MB = 1_000_000;
  const csv = { 'content-type': 'text/csv' };
  const put = (id: string, number: number, body: string) =>
    calls.call(`/v1/batches/${id}/parts/${number}`, { method: 'PUT', body, headers: csv });
  const open = async () =>
    (await calls.call<Batch>('/v1/batches?open=true&format=csv', { method: 'POST' })).body.id;
  const partsKey = (id: string) => `${stack.prefix}:batch:${id}:parts`;
  /** Gives a part the columns that its header had. */
  async function keepColumns(id: string, number: number, columns: string[]): Promise<void> {
    const json = JSON.parse((await inside.redis.hget(partsKey(id), String(number)))!) as object;
    const part = { ...json, header: undefined, columns };
    await inside.redis.hset(partsKey(id), String(number), JSON.stringify(part));
  }

  test('a part that lists the names of many columns is read', async () => {
    const columns = ['text', ...Array.from({ length: 999 }, (_, i) => `column ${i}`)];
    const id = await open();
    await put(id, 1, `${columns.join(',')}\ngood${',x'.repeat(999)}\n`);
    await keepColumns(id, 1, columns);
    expect((await calls.complete(id, [{ number: 1 }])).status).toBe(202);
    await calls.finished(id);
    expect(JSON.parse((await calls.results(id)).text)).toMatchObject({ line: 2, label: 'POSITIVE' });
  });

  test('parts with 40 MB of column names are not completed, and the error says what to do', async () => {
    const id = await open();
    for (let number = 1; number <= 4; number++) {
      await put(id, number, 'text\na\n');
      await keepColumns(id, number, ['text', 'x'.repeat(10 * MB)]);
    }
    const wanted = [1, 2, 3, 4].map((number) => ({ number }));
    for (const answer of [
      await calls.complete<Problem>(id, wanted),
      await calls.call<Problem>(`/v1/batches/${id}/parts`),
    ]) {
      expect([answer.status, answer.body.code]).toEqual([422, 'invalid_request']);
      expect(answer.body.detail).toMatch(/more than 33554432 bytes of columns: cancel it/);
    }
    await calls.remove(id);
  });

  test('a manifest of 40 MB fails its batch, and no worker reads it', async () => {
    const id = await open();
    await put(id, 1, 'text\na\n');
    await stack.workers[0]!.end();
    await calls.complete(id, [{ number: 1 }]);
    const [manifest] = readdirSync(calls.folder(id)).filter((name) => name.startsWith('manifest'));
    const file = path.join(calls.folder(id), manifest!);
    const { v, parts } = JSON.parse(readFileSync(file, 'utf8')) as { v: number; parts: object[] };
    const large = parts.map((part) => ({ ...part, columns: ['text', 'x'.repeat(40 * MB)] }));
    writeFileSync(file, JSON.stringify({ v, parts: large }));
    const worker = stack.startWorker({ NODE_OPTIONS: '--max-old-space-size=200' });
    stack.workers.push(worker);
    const { status, error } = await calls.finished(id);
    expect([status, error?.code]).toEqual(['failed', 'input_damaged']);
    expect(error?.message).toMatch(
      /^the list of its parts has more than 33554432 bytes, .*: submit the input again/,
    );
    expect(await calls.finished(await calls.submit('{"text":"good"}\n'))).toMatchObject({
      status: 'completed',
    });
  });
});
