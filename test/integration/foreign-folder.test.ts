/** The `amulet` command in a stranger's folder: it sends no secret of the user and runs no code because of a file there. */
import { spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { canMakeCertificates, CertificateAuthority } from '../support/network/certificates.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { FakeHub } from '../support/models/hub.ts';

const SECRET = 'the-secret-of-the-user';

let hub: FakeHub;
let folder: string;
/** Authorization of each request that the server of somebody else has got. */
let received: (string | undefined)[];
let foreign: Server;
let foreignUrl: string;

const listen = async (server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
};
const close = (server: Server) => {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
};
const record: RequestListener = (request, response) => {
  received.push(request.headers.authorization);
  response.writeHead(404, { 'content-type': 'application/problem+json' }).end('{"code":"batch_not_found"}');
};

beforeAll(async () => {
  hub = await FakeHub.start();
  foreign = createHttpServer(record);
  foreignUrl = `http://127.0.0.1:${await listen(foreign)}`;
});
afterAll(async () => {
  await Promise.all([hub.stop(), close(foreign)]);
});
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-foreign-'));
  hub.reset();
  hub.files.clear();
  hub.files.set('config.json', Buffer.from('{}'));
  received = [];
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const write = (name: string, ...lines: string[]) =>
  fs.writeFileSync(path.join(folder, name), `${lines.join('\n')}\n`);
const amulet = (args: string[], env: Record<string, string> = {}) => new CliProcess(args, folder, env).ended;
const backfill = (args: string[], env: Record<string, string> = {}) => {
  write('in.txt', 'a text');
  return amulet(['backfill', 'in.txt', '--out', 'out.jsonl', '--patience', '0', ...args], env);
};
/** What the hub has seen of tokens. */
const tokens = () => [...new Set(hub.requests.map(({ authorization }) => authorization))];

describe('HF_ENDPOINT of .env', () => {
  test('is not sent HF_TOKEN from the environment, and the command says how to send it', async () => {
    hub.token = SECRET;
    write('.env', `HF_ENDPOINT=${hub.url}`);
    const { said } = await amulet(['model', 'pull', hub.id], { HF_TOKEN: SECRET });
    expect(tokens()).toEqual([undefined]);
    expect(said).toContain(`HF_ENDPOINT is taken from .env in this folder: ${hub.url}\n`);
    expect(said).toContain(
      'HF_TOKEN from the environment is not sent to it; to send it, set HF_ENDPOINT in the environment, too\n',
    );
    expect(said).toContain(
      'requires a token for it: set HF_ENDPOINT in the environment for HF_TOKEN to be sent',
    );
    expect(said).not.toContain(SECRET);
  });

  test('is sent HF_TOKEN from the same file', async () => {
    write('.env', `HF_ENDPOINT=${hub.url}`, 'HF_TOKEN=of-the-folder');
    await amulet(['model', 'pull', hub.id]);
    expect(tokens()).toEqual(['Bearer of-the-folder']);
  });

  test("is overridden by the environment's, which is sent the token", async () => {
    write('.env', `HF_ENDPOINT=${foreignUrl}`);
    const { said } = await amulet(['model', 'pull', hub.id], { HF_ENDPOINT: hub.url, HF_TOKEN: SECRET });
    expect(tokens()).toEqual([`Bearer ${SECRET}`]);
    expect(received).toEqual([]);
    expect(said).not.toContain('.env');
  });
});

describe('other lines of .env', () => {
  test.skipIf(!canMakeCertificates())(
    'do not have the key sent to a server with any certificate',
    async () => {
      const authority = new CertificateAuthority();
      const server = createHttpsServer(authority.issue('127.0.0.1'), record);
      const port = await listen(server);
      try {
        write('.env', 'NODE_TLS_REJECT_UNAUTHORIZED=0', `NODE_EXTRA_CA_CERTS=${authority.file}`);
        const args = ['--url', `https://127.0.0.1:${port}`];
        const { said } = await backfill(args, { AMULET_API_KEY: SECRET });
        expect(received).toEqual([]);
        expect(said).toContain('certificate');
        // The user's own word counts.
        await backfill(args, { AMULET_API_KEY: SECRET, NODE_EXTRA_CA_CERTS: authority.file });
        expect(received).toContain(`Bearer ${SECRET}`);
      } finally {
        await close(server);
        authority.remove();
      }
    },
  );

  test('cause no proxy to be used', async () => {
    write('.env', 'NODE_USE_ENV_PROXY=1', `HTTP_PROXY=${foreignUrl}`, `http_proxy=${foreignUrl}`);
    await backfill(['--url', 'http://127.0.0.1:1'], { AMULET_API_KEY: SECRET });
    expect(received).toEqual([]);
  });

  test('run no code in the processes of model check', async () => {
    write('evil.mjs', `import fs from 'node:fs'; fs.writeFileSync('ran', '');`);
    write('.env', `NODE_OPTIONS=--import=${path.join(folder, 'evil.mjs')}`, 'BATCH_INVARIANCE=strict');
    const model = path.resolve('models/sst2-minilm');
    const { code } = await amulet(['model', 'check', model, '--text', 'good', '--json']);
    expect(code).toBe(0);
    expect(fs.existsSync(path.join(folder, 'ran'))).toBe(false);
  });

  test('give a model no variable of the user', async () => {
    // The variable shows in the environment of the model process, which this module of the folder writes down.
    write(
      'spy.mjs',
      `import fs from 'node:fs'; fs.appendFileSync(${JSON.stringify(path.join(folder, 'seen'))}, (process.env.USERS_OWN ?? 'none') + '\\n');`,
    );
    write('.env', 'MODEL_ENV=USERS_OWN');
    const own = { USERS_OWN: SECRET, NODE_OPTIONS: `--import=${path.join(folder, 'spy.mjs')}` };
    await amulet(['model', 'check', path.resolve('models/sst2-minilm'), '--text', 'good'], own);
    const seen = fs.readFileSync(path.join(folder, 'seen'), 'utf8').trimEnd().split('\n');
    // The command and its check have it; the model process, last, does not.
    expect([seen[0], seen.at(-1)]).toEqual([SECRET, 'none']);
  });

  test('in a parent folder are not read', async () => {
    write('.env', `HF_ENDPOINT=${foreignUrl}`, 'AMULET_API_KEY=of-the-folder');
    fs.mkdirSync(path.join(folder, 'below'));
    const below = path.join(folder, 'below');
    fs.writeFileSync(path.join(below, 'in.txt'), 'a text\n');
    const args = ['backfill', 'in.txt', '--out', 'o.jsonl', '--patience', '0', '--url', foreignUrl];
    await new CliProcess(args, below).ended;
    expect(received).toEqual([undefined]);
  });
});

test('a key of .env is used, and the command says so', async () => {
  write('.env', 'AMULET_API_KEY=of-the-folder');
  const { said } = await backfill(['--url', foreignUrl]);
  expect(received).toEqual(['Bearer of-the-folder']);
  expect(said).toContain('AMULET_API_KEY is taken from .env in this folder\n');
});

// Root may give files away, and reads those of others.
test.skipIf(process.getuid?.() !== 0)(
  'a .env of another user, or a link of theirs, is not read',
  async () => {
    write('.env', 'AMULET_API_KEY=of-another');
    fs.chownSync(path.join(folder, '.env'), 1234, 1234);
    const { said } = await backfill(['--url', foreignUrl]);
    expect(said).toContain('.env in this folder is not read: it belongs to another user (uid 1234)');
    fs.renameSync(path.join(folder, '.env'), path.join(folder, 'env'));
    fs.chownSync(path.join(folder, 'env'), 0, 0);
    spawnSync('ln', ['-s', 'env', path.join(folder, '.env')]);
    fs.lchownSync(path.join(folder, '.env'), 1234, 1234);
    await backfill(['--url', foreignUrl]);
    expect(received).toEqual([undefined, undefined]);
    fs.lchownSync(path.join(folder, '.env'), 0, 0);
    await backfill(['--url', foreignUrl]);
    expect(received.at(-1)).toBe('Bearer of-another');
  },
);

describe('the URL in a resume file', () => {
  const state = {
    v: 1,
    options: { format: 'lines' },
    input: null,
    idempotencyKey: 'x',
    batch: 'b',
    uploaded: true,
    finished: null,
  };
  const leave = (changes: object = {}) =>
    write('out.jsonl.resume.json', JSON.stringify({ ...state, url: `${foreignUrl}/`, ...changes }));

  test.each([
    ['--resume', {}],
    ['--resume', { url_proof: 'a'.repeat(64) }],
    ['--resume', { url_proof: 1 }],
    ['--resume --delete', { finished: { rows: 1, failed: 0 } }],
    ['--restart --url http://127.0.0.1:1', {}],
  ])('is sent no key that it was not sent before: %s %j', async (args, changes) => {
    leave(changes);
    const { code, said } = await backfill(args.split(' '), { AMULET_API_KEY: SECRET });
    expect(received).toEqual([]);
    expect(code).not.toBe(0);
    if (args.startsWith('--resume')) {
      expect(said).toContain(
        `out.jsonl.resume.json names the server ${foreignUrl}/, which has not been sent this AMULET_API_KEY before`,
      );
      expect(said).toContain(`--url ${foreignUrl} `);
    }
  });

  test('is sent a key that it was sent before', async () => {
    const proof = createHmac('sha256', SECRET).update(`${foreignUrl}/`).digest('hex');
    await backfill(['--url', foreignUrl], { AMULET_API_KEY: SECRET });
    const left = fs.readFileSync(path.join(folder, 'out.jsonl.resume.json'), 'utf8');
    expect(JSON.parse(left)).toMatchObject({ url: `${foreignUrl}/`, url_proof: proof });
    received = [];
    leave({ url_proof: proof });
    await backfill(['--resume'], { AMULET_API_KEY: SECRET });
    expect(received).toEqual([`Bearer ${SECRET}`]);
  });

  test('is asked without a key if none is set, and with it if the user names the URL', async () => {
    leave();
    await backfill(['--resume'], { AMULET_API_KEY: '' });
    expect(received).toEqual([undefined]);
    await backfill(['--resume', '--url', foreignUrl], { AMULET_API_KEY: SECRET });
    expect(received).toEqual([undefined, `Bearer ${SECRET}`]);
  });
});
