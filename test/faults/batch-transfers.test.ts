/** Uploads and downloads of batches that are interrupted, stalled, slow, refused, or not read. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/shared/contract/batches.ts';
import {
  archive,
  BatchCalls,
  complaints,
  DISTURBED,
  firstDifference,
  Inside,
  tellOnFailure,
  type Problem,
} from '../support/api/batches.ts';
import { eventually, Stack } from '../support/processes/stack.ts';

const MB = 1_000_000;
const input = archive(500);
let stack: Stack;
let calls: BatchCalls;
let undisturbed: string;

beforeAll(async () => {
  const preload = new URL('../support/processes/short-timeouts.ts', import.meta.url).href;
  stack = await Stack.start({
    redisUrl: inject('redisUrl'),
    env: {
      ...DISTURBED,
      MAX_BATCH_BYTES: String(MB),
      MAX_STORED_BYTES: String(1.5 * MB),
      UPLOAD_IDLE_S: '1',
      NODE_OPTIONS: `${DISTURBED.NODE_OPTIONS!} --import=${preload}`,
    },
  });
  calls = new BatchCalls(stack);
  const id = await calls.submit(input.body);
  ({ text: undisturbed } = await calls.results(id));
  await calls.remove(id);
});
afterAll(() => stack.stop());
beforeEach(() => tellOnFailure(() => stack));

const LINE = '{"text":"utterly charming"}\n';
const newest = async () =>
  (await calls.call<{ batches: Batch[] }>('/v1/batches?limit=1')).body.batches.at(0)?.id;

/** A connection that says `request` by hand. */
function byHand(request: string): { socket: Socket; answer: () => string; closed: Promise<unknown> } {
  const socket = connect(Number(new URL(stack.url).port), '127.0.0.1');
  let answer = '';
  socket.on('data', (data: Buffer) => (answer += data.toString()));
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(request);
  return { socket, answer: () => answer, closed };
}

const upload = (url: string, headers = 'Content-Length: 1000000', method = 'POST') =>
  `${method} ${url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n${headers}\r\n\r\n`;

/** No blob but those of these batches, and no file half-written. */
async function expectNothingLeft(...except: string[]): Promise<void> {
  const entries = (folder: string) =>
    existsSync(path.join(stack.blobFolder, folder)) ? readdirSync(path.join(stack.blobFolder, folder)) : [];
  await eventually(() =>
    Promise.resolve(
      entries('~tmp').length === 0 && entries('batches').every((id) => except.includes(id))
        ? true
        : undefined,
    ),
  );
}

describe('an upload', () => {
  test('interrupted by its client leaves nothing stored, and logs no error', async () => {
    const id = await calls.open();
    const half = gzipSync(LINE.repeat(10_000)).subarray(0, 300);
    const beginnings: [string, string | Buffer][] = [
      [upload('/v1/batches'), ''],
      [upload('/v1/batches'), `${LINE.repeat(5000)}{"text":"half a rec`],
      [upload('/v1/batches', 'Transfer-Encoding: chunked'), `${LINE.length.toString(16)}\r\n${LINE}\r\n`],
      [upload('/v1/batches', 'Content-Encoding: gzip\r\nContent-Length: 1000000'), half],
      [upload(`/v1/batches/${id}/parts/1`, undefined, 'PUT'), LINE.repeat(5000)],
    ];
    for (const [head, body] of beginnings) {
      const { socket, closed } = byHand(head);
      socket.write(body);
      if (head.startsWith('POST')) {
        // It has come as far as that there is a batch for it.
        await eventually(async () => ((await newest()) === id ? undefined : true));
      }
      socket.destroy();
      await closed;
      await eventually(async () => ((await newest()) === id ? true : undefined));
    }
    await expectNothingLeft();
    expect((await calls.get(id)).body).toMatchObject({ status: 'open', input: { bytes: 0, parts: 0 } });
    await calls.remove(id);
    expect(complaints(stack.api)).toEqual([]);
  });

  test('that stalls is ended with 408', async () => {
    const id = await calls.open();
    for (const head of [upload('/v1/batches'), upload(`/v1/batches/${id}/parts/1`, undefined, 'PUT')]) {
      const { socket, answer, closed } = byHand(head);
      socket.write(LINE);
      await closed;
      expect(answer()).toMatch(/^HTTP\/1.1 408 [^]*"code":"upload_idle"/);
    }
    expect(await newest()).toBe(id);
    await expectNothingLeft();
    await calls.remove(id);
  });

  test('that is slow is not ended, however long it takes', async () => {
    // The server has Node's limits a hundred times as tight: what is not even a request ends after a second.
    const nothing = byHand('POST /v1/batches HTTP/1.1\r\nHost: ');
    await nothing.closed;
    expect(nothing.answer()).toMatch(/^HTTP\/1.1 408 /);
    async function* crawl() {
      for (let line = 0; line < 16; line++) {
        yield Buffer.from(LINE);
        await sleep(200);
      }
    }
    const { status, body } = await calls.post(ReadableStream.from(crawl()));
    expect([status, body.rows.total]).toEqual([202, 16]);
    await calls.finished(body.id);
    await calls.remove(body.id);
  });
});

describe('a refusal while the client is still sending', () => {
  let kept: string;
  beforeAll(async () => {
    kept = await calls.open();
    expect((await calls.putPart(kept, 1, LINE.repeat((0.9 * MB) / LINE.length))).status).toBe(201);
  });
  afterAll(() => calls.remove(kept));

  const CASES: [string, { url: string; method: string; type: string; status: number; code: string }][] = [
    ['of a CSV without the column', refusal('/v1/batches', 'POST', 422, 'invalid_request', 'text/csv')],
    ['of too much for a batch', refusal('/v1/batches/KEPT/parts/2', 'PUT', 413, 'body_too_large')],
    ['of too much for all batches', refusal('/v1/batches', 'POST', 429, 'quota_reached')],
    [
      'of a part for no batch',
      refusal(`/v1/batches/${'0'.repeat(32)}-b-x/parts/1`, 'PUT', 404, 'batch_not_found'),
    ],
    ['of an unknown option', refusal('/v1/batches?no=such', 'POST', 422, 'invalid_request')],
  ];
  function refusal(url: string, method: string, status: number, code: string, type = 'application/x-ndjson') {
    return { url, method, type, status, code };
  }

  test.each(CASES)(
    '%s reaches a fetch client, whose next request works',
    async (_, { url, method, type, status, code }) => {
      const target = url.replace('KEPT', kept);
      let sent = 0;
      async function* endless() {
        const piece = Buffer.from(LINE.repeat(2000));
        // A gigabyte, unless the server stops it.
        for (; sent < 1000 * MB; sent += piece.length) {
          yield piece;
          await new Promise(setImmediate);
        }
      }
      for (const body of [ReadableStream.from(endless()), LINE.repeat((4 * MB) / LINE.length)]) {
        const refused = await calls.call<Problem>(target, {
          method,
          body,
          headers: { 'Content-Type': type },
          duplex: 'half',
        });
        expect([refused.status, refused.body.code]).toEqual([status, code]);
        // On the same connection, where that was not closed.
        expect((await calls.get(kept)).status).toBe(200);
      }
      expect(sent).toBeLessThan(200 * MB);
    },
  );

  const curl = spawnSync('curl', ['--version']).status === 0;
  test.skipIf(!curl).each(CASES)('%s reaches curl', (_, { url, method, type, status, code }) => {
    const command = `yes "$1" | curl -sS -X "$2" -T - -H "Content-Type: $3" -w '\\n%{http_code} %{size_upload}' "$4"`;
    const target = stack.url + url.replace('KEPT', kept);
    const { stdout } = spawnSync('sh', ['-c', command, 'sh', LINE.trim(), method, type, target], {
      encoding: 'utf8',
      timeout: 20_000,
    });
    const [body, figures] = stdout.split('\n') as [string, string];
    const [httpCode, uploaded] = figures.split(' ').map(Number);
    expect([httpCode, (JSON.parse(body) as Problem).code]).toEqual([status, code]);
    expect(uploaded).toBeLessThan(200 * MB);
  });

  test('closes the connection of a client that keeps sending, without reading further', async () => {
    const { socket, answer, closed } = byHand(upload('/v1/batches', `Content-Length: ${1000 * MB}`));
    const piece = Buffer.from(LINE.repeat(2000));
    const send = () => {
      while (!socket.destroyed && socket.write(piece));
    };
    socket.on('drain', send);
    send();
    await closed;
    expect(answer()).toMatch(/^HTTP\/1.1 429 /);
    expect(socket.bytesWritten).toBeLessThan(200 * MB);
  });
});

/** Expects correct results up to a break that the client notices. */
function expectBroken({ end, text }: { end: string; text: string }, atLeast = 1): void {
  expect(end).toBe('broken');
  expect(text.length).toBeGreaterThanOrEqual(atLeast);
  expect(firstDifference(text, undisturbed.slice(0, text.length))).toBeUndefined();
}

describe('results', () => {
  /** A follower of a batch that is being worked on, who has got some of its results. */
  async function followed(id?: string) {
    id ??= await calls.submit(input.body);
    let come = () => {};
    const some = new Promise<void>((resolve) => (come = resolve));
    const download = calls.results(id, '?follow=true', come);
    await some;
    return { id, download };
  }

  test('break off with an error for the client when a blob cannot be read', async () => {
    const id = await calls.submit(input.body);
    const { model } = await calls.finished(id);
    rmSync(path.join(calls.folder(id), 'results', model.revision!, '40'));
    for (const query of ['', '?follow=true', '?after=100']) {
      const { end, text } = await calls.results(id, query);
      expect([end, text.includes('Error')]).toEqual(['broken', false]);
      expect(undisturbed).toContain(text);
    }
    const whole = await calls.results(id, '');
    expectBroken(whole);
    expect(complaints(stack.api)).toEqual([]);
    await calls.remove(id);
  });

  test('break off with an error for a follower whose batch is removed', async () => {
    const { id, download } = await followed();
    const inside = new Inside(stack);
    await inside.store.remove(id);
    inside.close();
    expectBroken(await download);
    // A canceled one ends in order.
    const other = await followed();
    await calls.delete(other.id);
    const { end, text } = await other.download;
    expect([end, text.endsWith('\n')]).toEqual(['clean', true]);
    await calls.remove(other.id);
  });

  test.skipIf(process.platform !== 'linux')(
    'are not read further than a client that stops reading',
    async () => {
      const id = await calls.submit(LINE);
      const { model } = await calls.finished(id);
      const size = 64 * MB;
      const results = path.join(calls.folder(id), 'results', model.revision!, '0');
      truncateSync(results, size);
      // With its checksum recorded, so that the file passes the comparison and is sent.
      const inside = new Inside(stack);
      await inside.recordChecksum(id, readFileSync(results));
      inside.close();
      const readBytes = () => {
        const counters = readFileSync(`/proc/${stack.api.child.pid}/io`, 'utf8');
        return Number(/^rchar: (\d+)/.exec(counters)![1]);
      };
      const before = readBytes();
      const socket = connect(Number(new URL(stack.url).port), '127.0.0.1');
      socket.pause();
      socket.write(`GET /v1/batches/${id}/results HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
      // Until it stands still, though the server is quick enough to answer 50 other requests meanwhile.
      let last = before;
      for (let answered = 0; answered < 50; answered++) {
        await calls.get(id);
        const now = readBytes();
        if (now - before < size + MB || now - last > 0.1 * MB) answered = 0;
        last = now;
      }
      expect(readBytes() - before).toBeLessThan(size + 32 * MB);
      let received = 0;
      socket.on('data', (data: Buffer) => (received += data.length));
      socket.resume();
      await once(socket, 'close');
      expect(received).toBeGreaterThan(size);
      await calls.remove(id);
    },
  );

  test('break off with an error for the client when the API is killed or stops', async () => {
    const { id, download } = await followed();
    const worker = stack.workers[0]!.child;
    // So that the batch has no end before the second API has.
    worker.kill('SIGSTOP');
    try {
      await stack.api.end('SIGKILL');
      expectBroken(await download);
      await calls.restartApi();
      await eventually(async () => ((await calls.get(id)).status === 200 ? true : undefined));
      const again = await followed(id);
      expect(await stack.api.end('SIGTERM')).toBe(0);
      expectBroken(await again.download);
      await calls.restartApi();
    } finally {
      worker.kill('SIGCONT');
    }
    await calls.finished(id);
    expect(firstDifference((await calls.results(id)).text, undisturbed)).toBeUndefined();
  });
});
