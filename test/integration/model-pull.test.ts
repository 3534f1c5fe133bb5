/** `amulet model pull` in its own process, against a hub on loopback. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EXIT } from '../../src/cli/terminal/exit.ts';
import { CliProcess } from '../support/processes/cli.ts';
import { cutAfter, cutList, FakeHub, refuse } from '../support/models/hub.ts';
import { eventually } from '../support/processes/stack.ts';

const SHIPPED = 'models/goemotions-minilm';
const MODEL = 'onnx/model_quantized.onnx';
const LARGE = /^storage/;

let hub: FakeHub;
let cwd: string;

const start = (args: string[], env: Record<string, string> = {}) =>
  new CliProcess(['model', 'pull', ...args], cwd, { HF_ENDPOINT: hub.url, HF_TOKEN: '', ...env });
const pull = (args: string[] = [], env?: Record<string, string>) => start([hub.id, ...args], env).ended;
const at = (...names: string[]) => path.join(cwd, 'models', ...names);
const mount = (...args: string[]) => spawnSync('mount', args).status === 0;
const mountable = (() => {
  const folder = fs.mkdtempSync(path.join(tmpdir(), 'amulet-small-disk-'));
  const mounted = mount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder);
  if (mounted) spawnSync('umount', [folder]);
  fs.rmdirSync(folder);
  return mounted;
})();
/** What lies in `models`. */
const left = () => (fs.existsSync(at()) ? fs.readdirSync(at()).sort() : []);
const manifest = () =>
  JSON.parse(fs.readFileSync(at('some-model', 'manifest.json'), 'utf8')) as {
    revision: string;
    files: Record<string, object>;
  };

/** Every file that was taken has the hub's bytes. */
function expectWhole(names: string[] = [...hub.files.keys()]): void {
  expect(left()).toEqual(['some-model']);
  for (const name of names) {
    expect(fs.readFileSync(at('some-model', name)).equals(hub.files.get(name)!), name).toBe(true);
  }
}

beforeAll(async () => {
  hub = await FakeHub.start();
});
afterAll(() => hub.stop());
beforeEach(() => {
  cwd = fs.mkdtempSync(path.join(tmpdir(), 'amulet-pull-'));
  hub.reset();
  hub.files.clear();
  for (const name of [
    'config.json',
    'tokenizer_config.json',
    'tokenizer.json',
    'special_tokens_map.json',
    'README.md',
  ])
    hub.files.set(name, fs.readFileSync(path.join(SHIPPED, name)));
  hub.files.set(MODEL, fs.readFileSync(path.join(SHIPPED, MODEL)));
});
afterEach(() => fs.rmSync(cwd, { recursive: true, force: true }));

test('the folder has every byte, and a manifest with the revision of its maker', async () => {
  const { code, said } = await pull();
  expect(code).toBe(EXIT.ok);
  expectWhole();
  const made = JSON.parse(fs.readFileSync(path.join(SHIPPED, 'manifest.json'), 'utf8')) as ReturnType<
    typeof manifest
  >;
  // The settings, which the revision does not depend on while they are as the manifest lists them.
  delete made.files['amulet.json'];
  expect(manifest()).toEqual({ ...made, source: { repository: hub.id, commit: hub.commit } });
  expect(said).toMatch(/^From +somebody\/some-model at c0ffee000000: 6 files, 9\.9 MB$/m);
  expect(said).toMatch(/^Downloading +\d+%/m);
  expect(said).toContain(`models/some-model: 9.9 MB, revision ${made.revision}`);
  expect(said).toContain('MODEL_DIR=models/some-model npm start');
});

test('a second pull downloads nothing', async () => {
  await pull();
  hub.requests.length = 0;
  const { code, said } = await pull();
  expect(code).toBe(EXIT.ok);
  expect(said).toMatch(/^Present +models\/some-model already holds somebody\/some-model at c0ffee000000$/m);
  expect(hub.requests.filter(({ path: name }) => name.includes('/resolve/'))).toEqual([]);
});

test('another commit replaces the folder only with --force', async () => {
  await pull();
  const before = manifest().revision;
  hub.commit = 'c0ffee0000000000000000000000000000000002';
  hub.files.set('config.json', Buffer.from(`${hub.files.get('config.json')!.toString()}\n`));
  const refused = await pull();
  expect(refused.code).toBe(EXIT.usage);
  expect(refused.said).toContain('amulet: models/some-model already exists; --force replaces it\n');
  expect(manifest().revision).toBe(before);
  expect((await pull(['--force'])).code).toBe(EXIT.ok);
  expectWhole();
  expect(manifest().revision).not.toBe(before);
  hub.commit = 'c0ffee0000000000000000000000000000000001';
});

test('an existing folder is left alone', async () => {
  fs.mkdirSync(at('some-model'), { recursive: true });
  fs.writeFileSync(at('some-model', 'mine.txt'), 'mine');
  expect((await pull()).code).toBe(EXIT.usage);
  expect(fs.readdirSync(at('some-model'))).toEqual(['mine.txt']);
});

describe('a cut connection', () => {
  test('repeatedly: each attempt resumes where the last one ended', async () => {
    hub.plan(LARGE, cutAfter(2_000_000, hub), 3);
    expect((await pull()).code).toBe(EXIT.ok);
    expectWhole();
    const ranges = hub.requests.filter(({ at: where }) => where === 'storage').map(({ range }) => range);
    expect(ranges).toHaveLength(4);
    const offsets = ranges.map((range) => Number(/\d+/.exec(range ?? '0')?.[0]));
    expect(offsets[0]).toBe(0);
    for (let i = 1; i < 4; i++) expect(offsets[i]).toBeGreaterThan(offsets[i - 1]!);
  });

  test('by a server without ranges: restarts the file', async () => {
    hub.ranges = false;
    hub.plan(LARGE, cutAfter(2_000_000, hub));
    expect((await pull()).code).toBe(EXIT.ok);
    expectWhole();
  });

  test('always at the same place: gives up, keeps the data, and resumes with the same command', async () => {
    hub.plan(LARGE, cutAfter(2_000_000, hub));
    hub.plan(LARGE, refuse(503), 1000);
    const { code, said } = await pull(['--patience', '1']);
    expect(code).toBe(EXIT.temporary);
    expect(said).toContain('gave up after 0:01 without success: 503 Service Unavailable');
    expect(said).toContain('Resume with:\n  amulet model pull somebody/some-model --patience 1\n');
    expect(left()).toEqual(['some-model.partial']);
    hub.reset();
    expect((await pull()).code).toBe(EXIT.ok);
    expectWhole();
    expect(hub.requests.find(({ at: where }) => where === 'storage')?.range).toMatch(/^bytes=\d{6,}-$/);
  });

  test('by a kill: the next process resumes', async () => {
    // Holds the connection open after some of it.
    hub.plan(LARGE, (_, response) => {
      const content = hub.files.get(MODEL)!;
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 3_000_000));
      return true;
    });
    const killed = start([hub.id]);
    await eventually(() => {
      const partial = at('some-model.partial', MODEL);
      const size = fs.existsSync(partial) ? fs.statSync(partial).size : 0;
      return Promise.resolve(size === 3_000_000 ? true : undefined);
    });
    killed.child.kill('SIGKILL');
    await killed.ended;
    hub.reset();
    expect((await pull()).code).toBe(EXIT.ok);
    expectWhole();
    expect(hub.requests.find(({ at: where }) => where === 'storage')?.range).toBe('bytes=3000000-');
  });

  test('by Ctrl-C: keeps the data, and says how to resume', async () => {
    hub.plan(LARGE, (_, response) => {
      response.writeHead(200, { 'content-length': hub.files.get(MODEL)!.length });
      response.write(hub.files.get(MODEL)!.subarray(0, 1_000_000));
      return true;
    });
    const running = start([hub.id]);
    await eventually(() =>
      Promise.resolve(fs.existsSync(at('some-model.partial', MODEL)) ? true : undefined),
    );
    running.child.kill('SIGINT');
    const { code, said } = await running.ended;
    expect(code).toBe(EXIT.interrupted);
    expect(said).toContain(
      'amulet: interrupted\nThe downloaded data is kept. Resume with:\n  amulet model pull somebody/some-model\n',
    );
    expect(left()).toEqual(['some-model.partial']);
  });
});

describe("content that differs from the hub's list", () => {
  test('damaged data of an earlier run is downloaded again', async () => {
    hub.plan(LARGE, refuse(503), 1000);
    await pull(['--patience', '0']);
    fs.mkdirSync(at('some-model.partial', 'onnx'), { recursive: true });
    fs.writeFileSync(at('some-model.partial', MODEL), Buffer.alloc(5000, 7));
    hub.reset();
    expect((await pull()).code).toBe(EXIT.ok);
    expectWhole();
  });

  test('a wrong hash: downloaded twice, then refused', async () => {
    hub.wrongHash = createHash('sha256').update('something else').digest('hex');
    const { code, said } = await pull();
    expect(code).toBe(EXIT.failed);
    expect(said).toContain(`amulet: ${MODEL} does not have the content that the hub lists\n`);
    expect(said).toContain(`expected SHA-256 ${hub.wrongHash}`);
    expect(left()).toEqual(['some-model.partial']);
    expect(hub.requests.filter(({ at: where }) => where === 'storage')).toHaveLength(2);
  });

  test('a small file is changed in transit', async () => {
    hub.plan(
      /^hub .*resolve.*\/config\.json/,
      (_, response) => {
        response.end(Buffer.alloc(hub.files.get('config.json')!.length, ' '));
        return true;
      },
      2,
    );
    const { code, said } = await pull();
    expect(code).toBe(EXIT.failed);
    expect(said).toContain('config.json does not have the content that the hub lists');
  });
});

describe('a busy hub', () => {
  test('a truncated list is requested again', async () => {
    hub.plan(/^hub \/api.*\/tree/, cutList, 2);
    hub.plan(/^hub \/api.*\/revision/, cutList, 1);
    expect((await pull()).code).toBe(EXIT.ok);
    expectWhole();
  });

  test.each([429, 500, 502, 503])('%i is retried', async (status) => {
    hub.plan(/^hub \/api/, refuse(status, { 'retry-after': '0' }), 2);
    hub.plan(/resolve/, refuse(status), 1);
    expect((await pull()).code).toBe(EXIT.ok);
    expectWhole();
  });
});

describe('a repository that cannot be pulled', () => {
  const refused = async (args: string[], env?: Record<string, string>) => {
    const { code, said } = await start(args, env).ended;
    expect(code).toBe(EXIT.failed);
    expect(left()).toEqual([]);
    return said;
  };

  test('does not exist', async () => {
    expect(await refused(['somebody/nothing'])).toBe(`amulet: ${hub.url} has no somebody/nothing\n`);
  });

  test('has no such revision', async () => {
    expect(await refused([hub.id, '--revision', 'v9'])).toBe(
      'amulet: somebody/some-model has no revision v9\n',
    );
  });

  test('needs a token, which is sent to the hub alone', async () => {
    hub.token = 'secret-token';
    const said = await refused([hub.id]);
    expect(said).toBe(`amulet: ${hub.url} has no ${hub.id}, or requires a token for it: set HF_TOKEN\n`);
    const wrong = await refused([hub.id], { HF_TOKEN: 'another-token' });
    expect(wrong).toBe(`amulet: ${hub.url} does not accept HF_TOKEN, or has no ${hub.id}\n`);
    expect(wrong).not.toContain('another-token');

    hub.requests.length = 0;
    const { code, said: all } = await pull([], { HF_TOKEN: 'secret-token' });
    expect(code).toBe(EXIT.ok);
    expect(all).not.toContain('secret-token');
    for (const { at: where, authorization } of hub.requests)
      expect(authorization).toBe(where === 'hub' ? 'Bearer secret-token' : undefined);
    expect(hub.requests.some(({ at: where }) => where === 'storage')).toBe(true);
  });

  test('a token that no header can carry is refused and not shown', async () => {
    const { code, said } = await pull([], { HF_TOKEN: 'secret\ntoken' });
    expect([code, said]).toEqual([
      EXIT.usage,
      'amulet: HF_TOKEN contains characters that are not allowed in a token\n',
    ]);
  });

  test.each([
    ['strangers', 401, {}, 'then set HF_TOKEN'],
    ['somebody without access', 403, { HF_TOKEN: 'secret-token' }, 'HF_TOKEN has no access yet'],
  ])('it is gated, for %s', async (_, status, env, hint) => {
    // As the hub does: what there is, is for everybody to see.
    hub.plan(/^hub .*resolve/, refuse(status, { 'x-error-code': 'GatedRepo' }), 1000);
    const { code, said } = await pull([], env);
    expect(code).toBe(EXIT.failed);
    expect(said).toContain(`amulet: ${hub.id} is gated: ask for access at ${hub.url}/${hub.id}; ${hint}\n`);
    expect(left()).not.toContain('some-model');
  });

  test.each([
    ['a page for people', (response: ServerResponse) => response.end('<html>Sign in to the network</html>')],
    ['something else in JSON', (response: ServerResponse) => response.end('{"status": "ok"}')],
  ])('a server that is not a hub: %s', async (_, answer) => {
    hub.plan(/^hub/, (_request, response) => (answer(response), true), 1000);
    expect(await refused([hub.id])).toBe(`amulet: ${hub.url} does not answer like a model hub\n`);
  });

  test('no hub responds', async () => {
    const { code, said } = await pull(['--patience', '0'], { HF_ENDPOINT: 'http://127.0.0.1:1' });
    expect(code).toBe(EXIT.temporary);
    expect(said).toContain(`${hub.id}: gave up after 0:00 without success: 127.0.0.1:1: connection`);
  });

  test('HF_ENDPOINT is not a URL', async () => {
    const { code, said } = await pull([], { HF_ENDPOINT: 'nonsense' });
    expect([code, said]).toEqual([
      EXIT.usage,
      'amulet: HF_ENDPOINT=nonsense: must be an http or https URL\n',
    ]);
  });
});

describe('a repository without a file that a worker needs', () => {
  test('no ONNX file: says how to make one', async () => {
    hub.files.delete(MODEL);
    const { code, said } = await pull();
    expect(code).toBe(EXIT.failed);
    expect(said).toBe(
      `amulet: ${hub.id} has no ONNX file\n` +
        'To convert a checkpoint into a model folder (see models/prepare/README.md):\n' +
        `  cd models/prepare && python prepare.py ${hub.id} ../some-model --texts texts.txt\n`,
    );
    expect(left()).toEqual([]);
  });

  test('no tokenizer.json', async () => {
    hub.files.delete('tokenizer.json');
    expect((await pull()).said).toContain(`amulet: ${hub.id} has no tokenizer.json\n`);
  });

  test('several ONNX files under other names: --file chooses one', async () => {
    for (const name of ['onnx/model_uint8.onnx', 'onnx/model_O3.onnx'])
      hub.files.set(name, hub.files.get(MODEL)!);
    hub.files.delete(MODEL);
    const { code, said } = await pull();
    expect(code).toBe(EXIT.failed);
    expect(said).toContain('Choose one of its ONNX files with --file:\n');
    for (const name of ['onnx/model_uint8.onnx', 'onnx/model_O3.onnx'])
      expect(said).toContain(`\n  ${name}\n`);
    const { said: placed } = await pull(['--file', 'onnx/model_uint8.onnx', '--out', 'models/other']);
    expect(placed).toContain('MODEL_DIR=models/other MODEL_FILE=onnx/model_uint8.onnx npm start');
    expect(left()).toEqual(['other']);
  });

  test('--file names a missing file', async () => {
    const { said } = await pull(['--file', 'onnx/none.onnx']);
    expect(said).toContain(`amulet: ${hub.id} has no file onnx/none.onnx\n`);
  });
});

describe('files of earlier runs', () => {
  const partial = () => fs.readFileSync(at('some-model.partial', MODEL)).length;
  const interrupted = async () => {
    hub.plan(LARGE, cutAfter(2_000_000, hub));
    hub.plan(LARGE, refuse(503), 1000);
    await pull(['--force', '--patience', '0']);
    expect(partial()).toBeGreaterThan(0);
    hub.reset();
  };

  test('a partial download of another ONNX file does not get into the folder', async () => {
    await interrupted();
    hub.files.set('onnx/model.onnx', Buffer.alloc(3000, 1));
    expect((await pull(['--file', 'onnx/model.onnx'])).code).toBe(EXIT.ok);
    expect(fs.readdirSync(at('some-model', 'onnx'))).toEqual(['model.onnx']);
    expect(fs.readdirSync(at('some-model')).sort()).toEqual(
      [...Object.keys(manifest().files), 'README.md', 'manifest.json', 'onnx']
        .filter((name) => !name.includes('/'))
        .sort(),
    );
  });

  test('a damaged model is reported, and --force repairs it', async () => {
    await pull();
    fs.truncateSync(at('some-model', MODEL), 1000);
    const refused = await pull();
    expect(refused.code).toBe(EXIT.usage);
    expect(refused.said).toContain(
      `amulet: models/some-model already exists, but ${MODEL} is damaged or missing; --force replaces it\n`,
    );
    expect((await pull(['--force'])).code).toBe(EXIT.ok);
    expectWhole();
    fs.rmSync(at('some-model', 'config.json'));
    expect((await pull(['--force'])).code).toBe(EXIT.ok);
    expectWhole();
  });

  test('a kill between moving the old folder away and the new one in place', async () => {
    await pull();
    const { revision } = manifest();
    hub.commit = 'c0ffee0000000000000000000000000000000002';
    await interrupted();
    fs.renameSync(at('some-model'), at('some-model.old-0123abcd'));
    // The old one is back, even if the hub cannot be reached.
    await pull(['--patience', '0'], { HF_ENDPOINT: 'http://127.0.0.1:1' });
    expect(left()).toEqual(['some-model', 'some-model.partial']);
    expect(manifest().revision).toBe(revision);
    // Killed after that: the old folder is no longer needed.
    fs.mkdirSync(at('some-model.old-0123abcd'));
    expect((await pull(['--force'])).code).toBe(EXIT.ok);
    expectWhole();
    hub.commit = 'c0ffee0000000000000000000000000000000001';
  });

  test('a folder some-model.partial that is not from a pull is left alone', async () => {
    fs.mkdirSync(at('some-model.partial'), { recursive: true });
    fs.writeFileSync(at('some-model.partial', 'mine.txt'), 'mine');
    const { code, said } = await pull();
    expect(code).toBe(EXIT.usage);
    expect(said).toContain('some-model.partial exists and is not from an earlier pull: move it away\n');
    expect(fs.readdirSync(at('some-model.partial'))).toEqual(['mine.txt']);
  });
});

test.skipIf(!mountable)(
  `a full disk: one line, nothing placed, resumes once space is free${mountable ? '' : ' (skipped: no tmpfs can be mounted here)'}`,
  async () => {
    const disk = path.join(cwd, 'models');
    fs.mkdirSync(disk);
    mount('-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk);
    try {
      const before = await pull();
      expect(before.code).toBe(EXIT.temporary);
      expect(before.said).toMatch(
        /amulet: \S+some-model\.partial: [\d.]+ MB of free space needed, [\d.]+ MB available\n/,
      );
      expect(hub.requests.filter(({ path: asked }) => asked.includes('/resolve/'))).toEqual([]);

      // There is room at first, and then somebody else takes it.
      mount('-o', 'remount,size=40m', disk);
      hub.plan(/^storage/, () => !mount('-o', 'remount,size=6m', disk));
      const { code, said } = await pull();
      expect(code).toBe(EXIT.temporary);
      expect(said).toContain(
        'amulet: models/some-model: no space left on the disk\nThe downloaded data is kept. Resume with:\n',
      );
      expect(left()).toEqual(['some-model.partial']);
      hub.requests.length = 0;
      mount('-o', 'remount,size=40m', disk);
      expect((await pull()).code).toBe(EXIT.ok);
      expectWhole();
      expect(hub.requests.find(({ at: where }) => where === 'storage')?.range).toMatch(/^bytes=\d{6,}-$/);
    } finally {
      spawnSync('umount', [disk]);
    }
  },
);

test('weights beside the ONNX file are downloaded', async () => {
  hub.files.set('onnx/model.onnx', hub.files.get('config.json')!);
  hub.files.set('onnx/model.onnx_data', Buffer.alloc(3_000_000, 1));
  hub.files.set('onnx/model.onnx_data_1', Buffer.alloc(3000, 2));
  hub.files.delete(MODEL);
  expect((await pull()).code).toBe(EXIT.ok);
  expectWhole();
  expect(Object.keys(manifest().files)).toContain('onnx/model.onnx_data_1');
});

test('weights named only by the graph are downloaded; a repository without them is refused', async () => {
  const folder = 'test/fixtures/cases/model-ext-weights/onnx';
  hub.files.delete(MODEL);
  hub.files.set('onnx/model.onnx', fs.readFileSync(path.join(folder, 'model.onnx')));
  const refused = await pull();
  expect(refused.code).toBe(EXIT.failed);
  expect(refused.said).toContain('has no onnx/weights.bin, where onnx/model.onnx has its weights');
  hub.files.set('onnx/weights.bin', fs.readFileSync(path.join(folder, 'weights.bin')));
  hub.files.set('onnx/other.bin', Buffer.alloc(10));
  expect((await pull()).code).toBe(EXIT.ok);
  expectWhole([...hub.files.keys()].filter((name) => name !== 'onnx/other.bin'));
  expect(fs.existsSync(at('some-model', 'onnx/other.bin'))).toBe(false);
  expect(Object.keys(manifest().files)).toContain('onnx/weights.bin');
  // They are looked after like all others.
  fs.writeFileSync(at('some-model', 'onnx/weights.bin'), 'damaged');
  expect((await pull()).said).toMatch(/onnx\/weights\.bin is damaged or missing/);
});

test('a name that leads out of the folder is refused', async () => {
  const evil = 'onnx/model_quantized.onnx_data/../../../evil';
  hub.files.set(evil, Buffer.from('evil'));
  const { code, said } = await pull();
  expect(code).toBe(EXIT.failed);
  expect(said).toContain(`has a file with an unsafe name: "${evil}"`);
  expect(fs.existsSync(path.join(cwd, 'evil'))).toBe(false);
  expect(left()).toEqual([]);
});

describe('a hub with endless responses', () => {
  const page = (response: ServerResponse, next: string) => {
    response.writeHead(200, { 'content-type': 'application/json', link: `<${hub.url}${next}>; rel="next"` });
    response.end('[]');
    return true;
  };
  const pour = (response: ServerResponse, piece: string) => {
    const go = () => {
      while (!response.destroyed && response.write(piece));
    };
    response.on('drain', go);
    go();
    return true;
  };

  test('endless pages', async () => {
    let pages = 0;
    hub.plan(
      /\/tree/,
      ({ path: asked }, response) => page(response, `${asked.split('&cursor')[0]}&cursor=${++pages}`),
      1e9,
    );
    const { code, said } = await pull();
    expect([code, said]).toEqual([
      EXIT.failed,
      `amulet: ${hub.url}: the list of files of ${hub.id} has more than 1,000 pages\n`,
    ]);
    expect(pages).toBeLessThanOrEqual(1000);
  });

  test('a page that links to itself', async () => {
    hub.plan(/\/tree/, ({ path: asked }, response) => page(response, asked), 1e9);
    const { code, said } = await pull();
    expect([code, said]).toEqual([
      EXIT.failed,
      `amulet: ${hub.url}: the list of files of ${hub.id} repeats a page\n`,
    ]);
  });

  test('a page of endless JSON', async () => {
    hub.plan(/\/tree/, (_, response) => pour(response, ' '.repeat(65_536)), 1e9);
    const { code, said } = await pull();
    expect([code, said]).toEqual([
      EXIT.failed,
      `amulet: ${hub.url}: the list of files of ${hub.id} is larger than 32.0 MB\n`,
    ]);
  });

  test('redirects', async () => {
    hub.plan(
      /^hub/,
      ({ path: asked }, response) => {
        response.writeHead(302, { location: asked }).end();
        return true;
      },
      1e9,
    );
    const { code, said } = await pull();
    expect([code, said]).toEqual([EXIT.failed, `amulet: ${hub.url} redirects endlessly\n`]);
  });

  test('a file larger than listed', async () => {
    hub.plan(/resolve.*config\.json/, (_, response) => pour(response, 'x'.repeat(65_536)), 1e9);
    const { code, said } = await pull();
    expect(code).toBe(EXIT.failed);
    expect(said).toContain('config.json does not have the content that the hub lists');
    expect(left()).toEqual(['some-model.partial']);
  });

  test.each([-1, 0.5, 1e300])('a file of %d bytes', async (size) => {
    hub.plan(/\/tree/, (_, response) => {
      response.end(JSON.stringify([{ type: 'file', path: 'config.json', size, oid: '0' }]));
      return true;
    });
    expect((await pull()).said).toBe(`amulet: ${hub.url} does not answer like a model hub\n`);
  });
});

test('two pulls at once: one is refused', async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  hub.plan(/resolve.*config\.json/, (_, response) => {
    void held.then(() => response.destroy());
    return true;
  });
  const first = start([hub.id]);
  await eventually(() =>
    Promise.resolve(hub.requests.some(({ path: name }) => name.includes('resolve')) || undefined),
  );
  const second = await pull();
  expect(second.code).toBe(EXIT.usage);
  expect(second.said).toMatch(/^amulet: another amulet model pull \(process \d+\) is writing there\n/);
  release();
  expect((await first.ended).code).toBe(EXIT.ok);
  expectWhole();
});
