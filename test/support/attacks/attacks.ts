/**
 * Attacks of one caller with a key on the API, a worker and the others' deliveries. Each is bounded in count and time, and
 * goes to a stack on loopback only (attacked-stack.ts).
 */
import { statfsSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { Batch } from '../../../src/shared/contract/batches.ts';
import type { Job } from '../../../src/shared/contract/jobs.ts';
import type { Attacker, Call } from './attacker.ts';
import type { AttackedOptions } from './attacked-stack.ts';
import { emptyMembers, gzipBomb, JSON_BOMBS, repeated, wideCsv, type JsonRoute } from './bodies.ts';

export interface Attack {
  name: string;
  /** Seconds after which it is broken off; answers that are missing then count as `no answer`. */
  seconds: number;
  /** What the stack needs for it. */
  stack?: AttackedOptions & {
    /** MB of a disk of its own, which blobs and Redis share. */
    diskMb?: number;
  };
  /** What the other caller waits for meanwhile. Default: `predict`. */
  others?: 'predict' | 'deliveries';
  run: (attacker: Attacker) => Promise<void>;
}

const NDJSON = { 'Content-Type': 'application/x-ndjson' };
const CSV = { 'Content-Type': 'text/csv' };
const GZIP = { 'Content-Encoding': 'gzip' };
const MODEL = 'sst2-minilm';
/** Folder of a small Unigram model. */
const UNIGRAM = 'test/fixtures/models/xlm-roberta';
const MB = 1_000_000;
const WIDE_HEADER = repeated('text', ',a', '', 0.99 * MB);
const PARAMETERS = Array.from({ length: 5000 }, (_, i) => i.toString(36))
  .join('&')
  .slice(0, 15_000);

/** Seconds that a blocked process may take until it answers. */
const PATIENCE_S = 30;
/** Seconds of requests, one after the other. */
const FLOOD_S = 12;
/** Seconds that connections are held which nobody ends. */
const HOLD_S = 10;

const open = async (attacker: Attacker, query = ''): Promise<string> =>
  (await attacker.parsed<Batch>({ path: `/v1/batches?open=true${query}` })).id;

const putPart = (
  attacker: Attacker,
  id: string,
  number: number,
  body: Buffer,
  headers: Record<string, string>,
) => attacker.send({ method: 'PUT', path: `/v1/batches/${id}/parts/${number}`, headers, body });

/** As many of these requests as go through in some seconds, `count` at most. */
const many = (name: string, count: number, call: (i: number) => Call): Attack => ({
  name: `up to ${count.toLocaleString('en')} ${name}`,
  seconds: FLOOD_S + PATIENCE_S,
  run: (attacker) => attacker.repeat(count, 32, (i) => attacker.send(call(i)), FLOOD_S),
});

async function pathOf(attacker: Attacker, route: JsonRoute): Promise<string> {
  if (route === 'complete') return `/v1/batches/${await open(attacker)}/complete`;
  return { jobs: '/v1/jobs', predict: '/predict', hf: `/hf/${MODEL}` }[route];
}

const bombs: Attack[] = Object.entries(JSON_BOMBS).map(([name, { route, build }]) => ({
  name: `JSON, ${name}`,
  seconds: PATIENCE_S,
  run: async (attacker) => {
    const path = await pathOf(attacker, route);
    await attacker.send({ path, body: build() });
  },
}));

const severalBombs: Attack[] = [
  '700,000 unknown keys',
  'parts: 5 million numbers',
  'metadata: 700,000 keys',
].map((name) => ({
  name: `JSON, 12 at once: ${name}`,
  seconds: PATIENCE_S,
  run: async (attacker) => {
    const { route, build } = JSON_BOMBS[name]!;
    const path = await pathOf(attacker, route);
    const body = build();
    await attacker.repeat(12, 12, () => attacker.send({ path, body }));
  },
}));

/** Head and body of a POST whose `Content-Length` promises 10 MB. */
function unfinished(attacker: Attacker, path: string, type: string, bytes: number): Buffer[] {
  const head = attacker.head('POST', path, { 'Content-Type': type, 'Content-Length': 10 * MB });
  return [Buffer.from(`${head}\r\n`), repeated('{"text":"', 'a', '', bytes)];
}

/** `bytes` in chunks of one byte, as few writes. */
function* byteByByte(head: string, body: Buffer): Generator<Buffer> {
  yield Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\n`);
  const piece = 10_000;
  for (let at = 0; at < body.length; at += piece) {
    const chunks = Array.from(
      body.subarray(at, at + piece),
      (byte) => `1\r\n${String.fromCharCode(byte)}\r\n`,
    );
    yield Buffer.from(chunks.join(''), 'latin1');
  }
  yield Buffer.from('0\r\n\r\n');
}

/** A request, one byte at a time, for ever. */
function* trickle(head: string, first: string): Generator<Buffer> {
  yield Buffer.from(`${head}\r\n${first}`);
  for (;;) yield Buffer.from(' ');
}

const bodies: Attack[] = [
  {
    name: '60 bodies that stop at 9.9 of 10 MB',
    seconds: 20,
    run: async (attacker) => {
      for (let i = 0; i < 60; i++) {
        attacker.hold(unfinished(attacker, '/v1/jobs', 'application/json', 9.9 * MB));
        await attacker.pause(0.05);
      }
      await attacker.pause(HOLD_S);
    },
  },
  {
    name: '400 bodies that stop at 1 of 10 MB',
    seconds: 25,
    run: async (attacker) => {
      for (let i = 0; i < 400; i++) {
        attacker.hold(unfinished(attacker, i % 2 ? '/predict' : `/hf/${MODEL}`, 'application/json', MB));
        await attacker.pause(0.01);
      }
      await attacker.pause(HOLD_S);
    },
  },
  {
    name: '60 CSV headers that stop at 0.99 of 1 MB, to open batches',
    seconds: 20,
    run: async (attacker) => {
      for (let i = 0; i < 60; i++) {
        attacker.hold(unfinished(attacker, '/v1/batches?open=true&format=csv', 'text/csv', 0.99 * MB));
        await attacker.pause(0.02);
      }
      await attacker.pause(HOLD_S);
    },
  },
  {
    name: '300 bodies that trickle, 10 bytes a second',
    seconds: 20,
    run: async (attacker) => {
      for (let i = 0; i < 300; i++) {
        const head = attacker.head('POST', '/v1/jobs', {
          'Content-Type': 'application/json',
          'Content-Length': 1000,
        });
        attacker.hold(trickle(head, '{"text":"a"'), { everyMs: 100 });
      }
      await attacker.pause(HOLD_S);
    },
  },
  {
    name: '300 uploads that trickle, 10 bytes a second',
    seconds: 20,
    run: async (attacker) => {
      for (let i = 0; i < 300; i++) {
        const head = attacker.head('POST', '/v1/batches', { ...NDJSON, 'Content-Length': 1000 });
        attacker.hold(trickle(head, '{"text":"a"'), { everyMs: 100 });
      }
      await attacker.pause(HOLD_S);
    },
  },
  {
    name: 'an upload of 1 MB in chunks of one byte',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      const body = repeated('', '{"text":"utterly charming"}\n', '', MB);
      const pieces = byteByByte(
        attacker.head('POST', '/v1/batches', { ...NDJSON, Connection: 'close' }),
        body,
      );
      await closed(attacker.hold(pieces), attacker);
    },
  },
  {
    name: 'a gzip upload of 1 MB in chunks of one byte',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      const lines = Array.from(
        { length: 60_000 },
        (_, i) => `{"text":"${(i * 2_654_435_761).toString(36)}"}\n`,
      );
      const body = gzipSync(lines.join('')).subarray(0, MB);
      const head = attacker.head('POST', '/v1/batches', { ...NDJSON, ...GZIP, Connection: 'close' });
      await closed(attacker.hold(byteByByte(head, body)), attacker);
    },
  },
  {
    name: 'a JSON body of 1 MB in chunks of one byte',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      const body = repeated('{"text":"a"', ' ', '}', MB);
      const head = attacker.head('POST', '/v1/jobs', {
        'Content-Type': 'application/json',
        Connection: 'close',
      });
      await closed(attacker.hold(byteByByte(head, body)), attacker);
    },
  },
  {
    name: '2,000 connections that never end their headers',
    seconds: 20,
    run: async (attacker) => {
      for (let i = 0; i < 2000 && !attacker.over; i++) {
        attacker.hold(slowHeaders(attacker), { everyMs: 1000 });
        if (i % 50 === 0) await attacker.pause(0.02);
      }
      await attacker.pause(HOLD_S);
    },
  },
  {
    name: '200,000 pipelined requests whose answers nobody reads',
    seconds: 20,
    run: async (attacker) => {
      const request = `${attacker.head('GET', '/v1/models', {})}\r\n`;
      for (let i = 0; i < 20; i++) {
        attacker.hold(Array<string>(100).fill(request.repeat(100)), { reads: false });
      }
      await attacker.pause(HOLD_S);
    },
  },
];

function* slowHeaders(attacker: Attacker): Generator<string> {
  yield attacker.head('GET', '/v1/models', {});
  for (let i = 0; ; i++) yield `X-${i}: a\r\n`;
}

/** Resolves when the connection is closed, or the attack is over. */
const closed = (socket: Socket, { signal }: Attacker): Promise<void> =>
  new Promise((resolve) => {
    socket.once('close', () => resolve());
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve());
  });

const archives: Attack[] = [
  {
    name: 'gzip, 100 MB of empty records',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      await attacker.send({
        path: '/v1/batches',
        headers: { ...NDJSON, ...GZIP },
        body: gzipBomb('{}\n', 100),
      });
    },
  },
  {
    name: 'gzip, 100 MB of line feeds',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      await attacker.send({
        path: '/v1/batches',
        headers: { ...NDJSON, ...GZIP },
        body: gzipBomb('\n', 100),
      });
    },
  },
  {
    name: 'gzip, one record of 500 MB',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      await attacker.send({ path: '/v1/batches', headers: { ...NDJSON, ...GZIP }, body: gzipBomb('a', 500) });
    },
  },
  {
    name: 'gzip, 100 MB of quotes as CSV',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      const body = gzipSync(repeated('text\n', '""""\n', '', 100 * MB), { level: 9 });
      await attacker.send({ path: '/v1/batches', headers: { ...CSV, ...GZIP }, body });
    },
  },
  {
    name: 'gzip, 500,000 members without content',
    seconds: PATIENCE_S,
    run: async (attacker) => {
      await attacker.send({
        path: '/v1/batches',
        headers: { ...NDJSON, ...GZIP },
        body: emptyMembers(500_000),
      });
    },
  },
];

/** So many parts with a header of 1 MB each; then the batch is completed and worked on for some seconds. */
const wideParts = (parts: number, header: 'same' | 'other'): Attack => ({
  name: `${parts} parts with a CSV header of 1 MB, ${header === 'same' ? 'the same in each' : 'another in each'}`,
  seconds: FLOOD_S + PATIENCE_S + HOLD_S,
  run: async (attacker) => {
    const id = await open(attacker, '&format=csv');
    const same = wideCsv('hello');
    const stored: number[] = [];
    const put = async (i: number) => {
      const body = header === 'same' ? same : wideCsv(`hello ${i}`);
      const { status } = await putPart(attacker, id, i + 1, body, { ...CSV, ...GZIP });
      if (status === 201 || status === 200) stored.push(i + 1);
    };
    await attacker.repeat(parts, 4, put, FLOOD_S);
    await attacker.send({
      path: `/v1/batches/${id}/complete`,
      body: JSON.stringify({ parts: stored.map((number) => ({ number })) }),
    });
    await attacker.pause(HOLD_S);
  },
});

const batches: Attack[] = [
  wideParts(40, 'same'),
  wideParts(400, 'other'),
  many('batches opened with a CSV header of 1 MB', 100, () => ({
    path: '/v1/batches?open=true&format=csv',
    headers: CSV,
    body: WIDE_HEADER,
  })),
  many('batches opened and left', 300, () => ({ path: '/v1/batches?open=true' })),
  {
    name: 'up to 5,000 parts of one record each in one batch',
    seconds: FLOOD_S + PATIENCE_S,
    run: async (attacker) => {
      const id = await open(attacker);
      const part = Buffer.from('{"text":"a"}\n');
      await attacker.repeat(5000, 16, (i) => putPart(attacker, id, i + 1, part, NDJSON), FLOOD_S);
    },
  },
  {
    name: '10 parts of 1.3 MB at once, MAX_STORED_BYTES 2 MB',
    seconds: 20,
    stack: { env: { MAX_STORED_BYTES: String(2 * MB) } },
    run: async (attacker) => {
      const id = await open(attacker);
      const body = repeated('', '{"text":"utterly charming"}\n', '', 1.3 * MB);
      // Their last bytes come late, so that all are under way together.
      for (let i = 0; i < 10; i++) {
        const head = attacker.head('PUT', `/v1/batches/${id}/parts/${i + 1}`, {
          ...NDJSON,
          'Content-Length': body.length,
        });
        attacker.hold([Buffer.from(`${head}\r\n`), body.subarray(0, -100), body.subarray(-100)], {
          everyMs: 1500,
        });
      }
      await attacker.pause(8);
    },
  },
  {
    name: '8 uploads of 1.9 MB to an existing part held, MAX_STORED_BYTES 2 MB',
    seconds: 20,
    stack: { env: { MAX_STORED_BYTES: String(2 * MB) } },
    run: async (attacker) => {
      const id = await open(attacker);
      await putPart(attacker, id, 1, Buffer.from('{"text":"a"}\n'), NDJSON);
      const body = repeated('', '{"text":"utterly charming"}\n', '', 1.9 * MB);
      for (let i = 0; i < 8; i++) {
        const head = attacker.head('PUT', `/v1/batches/${id}/parts/1`, {
          ...NDJSON,
          'Content-Length': 10 * MB,
        });
        attacker.hold([Buffer.from(`${head}\r\n`), body]);
      }
      await attacker.pause(HOLD_S);
    },
  },
  {
    name: 'a held upload fills a disk of 64 MB that Redis shares',
    seconds: 25,
    stack: { diskMb: 64, env: { MIN_FREE_DISK_BYTES: String(16 * MB) } },
    run: async (attacker) => {
      const { bavail, bsize } = statfsSync(attacker.target.disk);
      const upload = repeated('', `{"text":"${'charming '.repeat(100)}"}\n`, '', bavail * bsize - 100_000);
      const head = attacker.head('POST', '/v1/batches', { ...NDJSON, 'Content-Length': 200 * MB });
      attacker.hold([Buffer.from(`${head}\r\n`), upload]);
      await attacker.pause(15);
    },
  },
  {
    name: '300 followers that read nothing',
    seconds: 30,
    run: async (attacker) => {
      const body = repeated('', '{"text":"a"}\n', '', 13 * 20_000);
      const { id } = await attacker.parsed<Batch>({ path: '/v1/batches', headers: NDJSON, body });
      const request = `${attacker.head('GET', `/v1/batches/${id}/results?follow=true`, {})}\r\n`;
      for (let i = 0; i < 300; i++) attacker.hold([request], { reads: false });
      await attacker.pause(15);
    },
  },
];

/** Jobs of 256 texts, of 5,000 characters each. No two are equal: those would run once. */
const longTexts = (name: string, text: string, model?: string): Attack => ({
  name: `4 jobs of 256 texts of 5,000 ${name}${model === undefined ? '' : ', Unigram'}`,
  seconds: PATIENCE_S,
  ...(model === undefined ? {} : { stack: { env: { MODEL_DIR: model } } }),
  run: async (attacker) => {
    const textOf = (i: number) => [...`${i}${text.repeat(5000)}`].slice(0, 5000).join('');
    await attacker.repeat(4, 4, (job) => {
      const texts = Array.from({ length: 256 }, (_, i) => textOf(256 * job + i));
      return attacker.send({ path: '/v1/jobs', body: JSON.stringify({ texts }) });
    });
    await attacker.pause(20);
  },
});

const texts: Attack[] = [
  longTexts('Hangul syllables', '가'),
  longTexts('emoji', '😀'),
  longTexts('Hangul syllables', '가', UNIGRAM),
  longTexts('flags', '🇩🇪', UNIGRAM),
  longTexts('combining marks', 'a\u0301\u0316', UNIGRAM),
];

/** 64 jobs with a webhook each, to servers on several ports that treat each connection like this. */
const receivers = (name: string, behave: (socket: Socket) => void): Attack => ({
  name: `64 webhooks to receivers that ${name}`,
  seconds: 25,
  stack: { webhooks: true },
  others: 'deliveries',
  run: async (attacker) => {
    const { receiverPorts } = attacker.target;
    const servers = await Promise.all(receiverPorts.map((port) => listen(port, behave)));
    try {
      await attacker.repeat(64, 8, (i) => {
        const webhook = { url: `http://127.0.0.1:${receiverPorts[i % receiverPorts.length]}/` };
        return attacker.send({ path: '/v1/jobs', body: JSON.stringify({ text: 'a', webhook }) });
      });
      await attacker.pause(18);
    } finally {
      for (const server of servers) server.close();
    }
  },
});

interface Listening {
  close: () => void;
}

async function listen(port: number, behave: (socket: Socket) => void): Promise<Listening> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    socket.once('data', () => behave(socket));
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Writes `piece` over and over, as fast as the other side reads. */
const flood = (piece: string) => (socket: Socket) => {
  const more = () => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on('drain', more);
  more();
};

const webhooks: Attack[] = [
  receivers('send 103 for ever', flood('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(100))),
  receivers('send 100 for ever', flood('HTTP/1.1 100 Continue\r\n\r\n'.repeat(100))),
  receivers('never answer', () => {}),
  receivers('send headers for ever', (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    flood('X: a\r\n'.repeat(100))(socket);
  }),
  receivers('send a body for ever', (socket) => {
    socket.write('HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n');
    flood('1\r\na\r\n'.repeat(1000))(socket);
  }),
];

const floods: Attack[] = [
  {
    name: '2,000 waits for one job',
    seconds: 25,
    run: async (attacker) => {
      let job: Job | undefined;
      // The last of them is not begun for as long as this takes: all texts differ.
      for (let i = 0; i < 40; i++) {
        const texts = Array.from({ length: 256 }, (_, n) => `${i} ${n} ${'charming '.repeat(500)}`);
        const body = JSON.stringify({ texts, priority: 'low' });
        job = await attacker.parsed<Job>({ path: '/v1/jobs', body });
      }
      const request = `${attacker.head('GET', `/v1/jobs/${job?.id}?wait=60`, {})}\r\n`;
      for (let i = 0; i < 2000 && !attacker.over; i++) {
        attacker.hold([request]);
        if (i % 50 === 0) await attacker.pause(0.02);
      }
      await attacker.pause(HOLD_S);
    },
  },
  many('requests with wrong keys', 100_000, (i) => ({
    method: 'GET',
    path: '/v1/models',
    headers: { Authorization: `Bearer amk_${i}` },
  })),
  many('requests for models that do not exist', 20_000, (i) => ({
    path: '/v1/jobs',
    body: JSON.stringify({ text: 'a', model: `no-${i}` }),
  })),
  many('requests for paths that do not exist', 20_000, (i) => ({
    method: 'GET',
    path: `/v1/${'a/'.repeat(1000)}${i}`,
  })),
  many('queries of 5,000 parameters', 5000, () => ({ method: 'GET', path: `/v1/jobs?${PARAMETERS}` })),
  many('queries of 16 KB in one parameter', 5000, () => ({
    method: 'GET',
    path: `/v1/jobs?after=${'%41'.repeat(5000)}`,
  })),
  many('jobs with an Idempotency-Key each, never read', 3000, (i) => ({
    path: '/v1/jobs',
    headers: { 'Idempotency-Key': `key-${i}` },
    body: JSON.stringify({ text: 'a', metadata: { note: 'm'.repeat(4000) } }),
  })),
];

export const ATTACKS: readonly Attack[] = [
  ...bombs,
  ...severalBombs,
  ...bodies,
  ...archives,
  ...batches,
  ...texts,
  ...webhooks,
  ...floods,
];

/** @throws Error for a name that no attack has */
export function attackNamed(name: string): Attack {
  const found = ATTACKS.find((attack) => attack.name === name);
  if (!found) throw new Error(`no attack ${name}`);
  return found;
}
