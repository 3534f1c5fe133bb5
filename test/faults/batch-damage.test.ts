/** Blobs of a batch that are cut short, altered or lost on disk: they are never used as data, and the batch reports the damage. */
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { BatchError } from '../../src/client/outcome-errors.ts';
import { AmuletClient } from '../../src/client/index.ts';
import { openBlobStore } from '../../src/shared/blobs/open.ts';
import { readManifest } from '../../src/shared/store/batches/input.ts';
import { resultsKey } from '../../src/shared/store/batches/layout.ts';
import { encodeChecksum } from '../../src/shared/store/batches/results.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';
import { countOutcomes } from '../../src/worker/inference/chunk-outcomes.ts';
import { archive, BatchCalls, Inside, startBatchStack, tellOnFailure } from '../support/api/batches.ts';
import { standIn } from '../support/models/stand-in.ts';
import { provideS3 } from '../support/storage/s3.ts';
import { Stack } from '../support/processes/stack.ts';

const input = archive(60);
const s3 = await provideS3();
let stack: Stack;
let calls: BatchCalls;
let inside: Inside;
let stop: () => Promise<void>;
/** The results of `input`, its counts, and the lines of each chunk. */
let whole: string;
let counts: Pick<Batch, 'rows' | 'labels' | 'errors'>;
let chunks: string[];

beforeAll(async () => {
  ({ stack, calls, inside, stop } = await startBatchStack({
    redisUrl: inject('redisUrl'),
    env: { ...standIn(), BULK_CHUNK_BYTES: '600' },
  }));
  const id = await completed();
  ({ text: whole } = await calls.results(id));
  const { body } = await calls.get(id);
  counts = { rows: body.rows, labels: body.labels, errors: body.errors };
  expect(countsIn(whole)).toEqual({ labels: body.labels, errors: body.errors });
  expect(counts.rows).toMatchObject({ total: input.rows, finished: input.rows, failed: input.failed });
  const { revision } = (await inside.store.read(id))!;
  const count = readdirSync(path.join(calls.folder(id), 'results', revision!)).length;
  chunks = Array.from({ length: count }, (_, chunk) =>
    readFileSync(path.join(calls.folder(id), 'results', revision!, `${chunk}`), 'utf8'),
  );
  expect(chunks.join('')).toBe(whole);
  expect(chunks.length).toBeGreaterThan(5);
});
afterAll(async () => {
  await stop();
  if (typeof s3 !== 'string') await s3.stop();
});
beforeEach(() => tellOnFailure(() => stack));

/** Rows by label and by error code. */
function countsIn(ndjson: string): Pick<Batch, 'labels' | 'errors'> {
  const rowsOf = (name: RegExp) => {
    const counts: Record<string, number> = {};
    for (const [, each = ''] of ndjson.matchAll(name)) counts[each] = (counts[each] ?? 0) + 1;
    return counts;
  };
  return { labels: rowsOf(/,"label":"(\w+)"/g), errors: rowsOf(/"error":\{"code":"(\w+)"/g) };
}

/** Id of a batch that has all its results. */
async function completed(): Promise<string> {
  const id = await calls.submit(input.body);
  expect((await calls.finished(id)).status).toBe('completed');
  return id;
}

async function resultsFile(id: string, chunk: number): Promise<string> {
  const { revision } = (await inside.store.read(id))!;
  return path.join(calls.folder(id), 'results', revision!, `${chunk}`);
}

/** Kinds of damage to a file. */
const damage = {
  'is cut inside a line': (file) => truncateSync(file, readFileSync(file).length - 20),
  'is cut between two lines': (file) => {
    const bytes = readFileSync(file);
    truncateSync(file, bytes.lastIndexOf('\n', bytes.length - 2) + 1);
  },
  'is empty': (file) => truncateSync(file, 0),
  'is missing': (file) => rmSync(file),
  'has more bytes': (file) => writeFileSync(file, '{"line":99999,"label":"POSITIVE"}\n', { flag: 'a' }),
  'has another label, of the same length': (file) =>
    writeFileSync(
      file,
      readFileSync(file, 'utf8').replace(/POSITIVE|NEGATIVE/, (label) =>
        label === 'POSITIVE' ? 'NEGATIVE' : 'POSITIVE',
      ),
    ),
  'is all zeros': (file) => writeFileSync(file, Buffer.alloc(readFileSync(file).length)),
} satisfies Record<string, (file: string) => void>;

const DAMAGED = 2;
const before = () => chunks.slice(0, DAMAGED).join('');
const lineIn = (chunk: number) => Number(/"line":(\d+)/.exec(chunks[chunk]!)![1]);

async function expectDamage(id: string): Promise<Batch> {
  const { end, text } = await calls.results(id, '');
  expect({ end, text }).toEqual({ end: 'broken', text: before() });
  const { body: batch } = await calls.get(id);
  const { problem } = batch;
  expect(problem?.code).toBe('results_damaged');
  expect(problem?.message).toContain(`chunk ${DAMAGED} of ${chunks.length}`);
  expect(problem?.message).toContain(`from line ${lineIn(DAMAGED)} of the input`);
  expect(problem?.message).toContain(`POST /v1/batches/${id}/resume`);
  return batch;
}

/** Resumes it, after which everything is as it was. */
async function expectRepair(id: string): Promise<void> {
  expect((await calls.resume(id)).status).toBe(202);
  expect(await calls.finished(id)).toMatchObject({
    status: 'completed',
    problem: null,
    error: null,
    ...counts,
  });
  expect(await calls.results(id, '')).toEqual({ end: 'clean', text: whole });
}

describe('results of a chunk', () => {
  test.each(Object.entries(damage))(
    '%s: the response breaks off before them, and resume repairs them',
    async (_, harm) => {
      const id = await completed();
      harm(await resultsFile(id, DAMAGED));
      expect((await expectDamage(id)).status).toBe('completed');
      await expectRepair(id);
    },
  );

  test.each(['is cut inside a line', 'is cut between two lines', 'is missing'] as const)(
    'of a version without checksums, %s: the damage is found',
    async (kind) => {
      const id = await completed();
      await inside.redis.del(`${stack.prefix}:batch:${id}:checksums`);
      expect(await calls.results(id, '')).toEqual({ end: 'clean', text: whole });
      damage[kind](await resultsFile(id, DAMAGED));
      await expectDamage(id);
      await expectRepair(id);
    },
  );

  test('a reader that continues with `after` inside the damaged chunk gets none of its rows', async () => {
    const id = await completed();
    damage['has another label, of the same length'](await resultsFile(id, DAMAGED));
    const after = lineIn(DAMAGED);
    expect(await calls.results(id, `?after=${after}`)).toEqual({ end: 'broken', text: '' });
    // The chunks after it are intact.
    const behind = lineIn(DAMAGED + 1) - 1;
    expect(await calls.results(id, `?after=${behind + 1}`)).toMatchObject({ end: 'clean' });
  });

  test('the typed client yields the rows before the damage, then throws with the reason', async () => {
    const id = await completed();
    damage['is cut inside a line'](await resultsFile(id, DAMAGED));
    const lines: number[] = [];
    const read = async () => {
      for await (const { line } of new AmuletClient({ url: stack.url }).batchById(id).results())
        lines.push(line);
    };
    const error = await read().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BatchError);
    expect(error).toMatchObject({ code: 'results_damaged', batch: { status: 'completed' } });
    expect(lines.length).toBe(before().split('\n').length - 1);
  });

  test('a chunk is counted with the checksum of the stored results', async () => {
    const id = await completed();
    const bytes = await inside.store.chunks.checksums(id, 0, chunks.length);
    for (const [chunk, text] of chunks.entries()) {
      const counts = countOutcomes(Buffer.from(text));
      expect(counts.failedRows).toBe(text.split('"error":{').length - 1);
      expect(bytes.subarray(12 * chunk, 12 * chunk + 12)).toEqual(encodeChecksum(Buffer.from(text), counts));
    }
    await calls.remove(id);
    expect(await inside.redis.keys(`${stack.prefix}:batch:${id}*`)).toEqual([]);
  });

  test('damaged before the chunk was counted: a worker writes them again', async () => {
    const id = await completed();
    const file = await resultsFile(id, DAMAGED);
    const key = `${stack.prefix}:batch:${id}`;
    // As a worker leaves it that dies between writing and counting.
    await inside.mark(id, DAMAGED, false);
    await inside.redis.hset(key, 'status', 'failed');
    await inside.redis.hincrby(key, 'chunks_done', -1);
    await inside.redis.hincrby(key, 'finished_rows', -(chunks[DAMAGED]!.split('\n').length - 1));
    const counts = countOutcomes(Buffer.from(chunks[DAMAGED]!));
    await inside.redis.hincrby(key, 'failed_rows', -counts.failedRows);
    await inside.redis.hincrby(key, 'unknown_rows', -counts.unknownRows);
    // The last of the three numbers of a checksum, as a worker counts it.
    const shares = encodeChecksum(Buffer.from(chunks[DAMAGED]!), counts).readUInt32LE(8);
    await inside.redis.hincrby(key, 'unknown_shares', -shares);
    damage['is cut between two lines'](file);
    await expectRepair(id);
    expect(readFileSync(file, 'utf8')).toBe(chunks[DAMAGED]);
  });
});

describe('the input', () => {
  const only = (id: string, ending: string) => {
    const folder = path.join(calls.folder(id), ending.startsWith('manifest') ? '' : 'parts');
    return path.join(
      folder,
      readdirSync(folder).find((name) => name.endsWith(ending) || name.startsWith(ending))!,
    );
  };
  const overwrite = (offset: number, bytes: number[]) => (file: string) => {
    const content = readFileSync(file);
    content.set(bytes, offset);
    writeFileSync(file, content);
  };
  const listed = (change: (manifest: { parts: { chunks: number }[] }) => void) => (file: string) => {
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as { parts: { chunks: number }[] };
    change(manifest);
    writeFileSync(file, JSON.stringify(manifest));
  };

  test.each<[string, string, RegExp, (file: string) => void]>([
    ['garbage', '.index', /index of part 1 .* damaged/, (file) => writeFileSync(file, 'garbage')],
    ['cut short', '.index', /index of part 1 .* damaged/, (file) => truncateSync(file, 24)],
    ['empty', '.index', /index of part 1 .* damaged/, (file) => truncateSync(file, 0)],
    [
      'of all zeros',
      '.index',
      /index of part 1 .* damaged/,
      (file) => writeFileSync(file, Buffer.alloc(readFileSync(file).length)),
    ],
    [
      'with an impossible offset',
      '.index',
      /its entry 2 is not/,
      overwrite(24, [1, 2, 3, 4, 5, 6, 0xf0, 0x7f]),
    ],
    ['with other counts of rows', '.index', /rows instead of 60/, overwrite(20, [200, 1, 0, 0])],
    ['cut short', '.data', /part 1 of its input is cut short/, (file) => truncateSync(file, 1000)],
    [
      'of all zeros',
      '.data',
      /rows instead of/,
      (file) => writeFileSync(file, Buffer.alloc(readFileSync(file).length)),
    ],
    ['garbage', 'manifest', /list of its parts is damaged/, (file) => writeFileSync(file, '{"v":1,"par')],
    ['empty', 'manifest', /list of its parts is damaged/, (file) => truncateSync(file, 0)],
    ['with too few chunks', 'manifest', /chunks instead of/, listed(({ parts }) => (parts[0]!.chunks = 1))],
    ['without parts', 'manifest', /chunks instead of/, listed(({ parts }) => parts.splice(0))],
  ])(
    '%s %s: the batch fails with the reason, and continues once the file is back',
    async (_, name, message, harm) => {
      const worker = stack.workers[0]!.child;
      worker.kill('SIGSTOP');
      let id: string;
      let file: string;
      let content: Buffer;
      try {
        id = await calls.submit(input.body);
        file = only(id, name);
        content = readFileSync(file);
        harm(file);
      } finally {
        worker.kill('SIGCONT');
      }
      const failed = await calls.finished(id);
      expect(failed).toMatchObject({
        status: 'failed',
        error: { code: 'input_damaged', message: expect.stringMatching(message) },
        problem: { code: 'input_damaged', message: expect.stringMatching(message) },
      });
      if (name === 'manifest') {
        const { status, body } = await calls.call<{ code: string }>(`/v1/batches/${id}/parts`);
        expect([status, body.code]).toEqual([410, 'input_damaged']);
      }
      writeFileSync(file, content);
      expect((await calls.resume(id)).status).toBe(202);
      expect(await calls.finished(id)).toMatchObject({ status: 'completed', problem: null, error: null });
      expect(await calls.results(id, '')).toEqual({ end: 'clean', text: whole });
    },
  );

  test('is not needed to read results from the first one on', async () => {
    const id = await completed();
    writeFileSync(only(id, 'manifest'), 'garbage');
    expect(await calls.results(id, '')).toEqual({ end: 'clean', text: whole });
    const refused = await calls.call<{ code: string }>(`/v1/batches/${id}/results?after=5`);
    expect([refused.status, refused.body.code]).toEqual([410, 'input_damaged']);
    rmSync(only(id, 'manifest'));
    expect(await calls.results(id, '')).toEqual({ end: 'clean', text: whole });
    const lost = await calls.call<{ code: string }>(`/v1/batches/${id}/results?after=5`);
    expect([lost.status, lost.body.code]).toEqual([410, 'input_lost']);
  });
});

test.skipIf(typeof s3 === 'string')(
  `results in S3 are compared with their checksums, too (${typeof s3 === 'string' ? `skipped: ${s3}` : s3.name})`,
  async () => {
    if (typeof s3 === 'string') return;
    const url = new URL(s3.url);
    url.pathname = '/damage';
    const other = await Stack.start({
      redisUrl: inject('redisUrl'),
      env: { ...standIn(), BULK_CHUNK_BYTES: '600', BLOB_URL: url.href },
    });
    const [mainCalls, mainInside] = [calls, inside];
    calls = new BatchCalls(other);
    inside = new Inside(other);
    const store = await openBlobStore(url.href);
    try {
      const id = await completed();
      const record = (await inside.store.read(id))!;
      expect((await readManifest(store, id, record))?.parts.length).toBe(1);
      const key = resultsKey(id, record.revision!, DAMAGED);
      await store.put(key, Buffer.from(chunks[DAMAGED]!.slice(0, -20)));
      await expectDamage(id);
      await expectRepair(id);
      await store.delete([key]);
      await expectDamage(id);
      await expectRepair(id);
    } finally {
      inside.close();
      [calls, inside] = [mainCalls, mainInside];
      store.close();
      await other.stop();
    }
  },
);
