/** The npm package of client and command: packed, installed and used without the rest of the repository. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { reach } from '../../packaging/reach.ts';
import { newSecret } from '../../src/shared/runtime/webhook-secret.ts';
import { installPackage, plainNode, run } from '../support/processes/package.ts';
import { freePort } from '../support/redis/redis.ts';
import { Stack } from '../support/processes/stack.ts';

const installed = installPackage();
const { folder, files, missing } = installed;
const node = plainNode();
/** The types of Node are not in question, and take long to check. */
const OF_NODE = {
  target: 'es2022',
  types: ['node'],
  typeRoots: [path.resolve('node_modules/@types')],
  skipLibCheck: true,
};
const at = (...names: string[]): string => path.join(folder, ...names);
const inPackage = (name: string): string => at('node_modules/amulet-classify', name);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('contains JavaScript, and declarations of the client', () => {
  const kinds = new Set(
    files.map((file) => /^lib\/(\w+)\/.*?((\.d)?\.\w+)$/.exec(file)?.slice(1, 3).join(' ') ?? file),
  );
  expect([...kinds].sort()).toEqual(
    ['LICENSE', 'README.md', 'cli .js', 'client .d.ts', 'client .js', 'package.json', 'shared .js'].sort(),
  );
  expect(files).not.toContain('lib/shared/config.js');
});

describe.skipIf(missing !== undefined)(
  `installed${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    test('the client needs no package, and of Node only files and gzip', () => {
      expect([...reach([inPackage('lib/client/index.js')]).packages]).toEqual([]);
      expect([...reach([inPackage('lib/client/index.d.ts')]).packages]).toEqual([]);
      expect([...reach([inPackage('lib/client/node.js')]).packages]).toEqual(['node:fs', 'node:zlib']);
      expect(
        ['zod', 'bullmq', '@huggingface'].filter((name) => existsSync(at('node_modules', name))),
      ).toEqual([]);
    });

    describe('compiled strictly', () => {
      const compile = (name: string, options: object, source: string) => {
        const project = at(name);
        mkdirSync(project);
        writeFileSync(path.join(project, 'consumer.ts'), source);
        const compilerOptions = {
          module: 'nodenext',
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          skipLibCheck: false,
          ...options,
        };
        writeFileSync(
          path.join(project, 'tsconfig.json'),
          JSON.stringify({ compilerOptions, files: ['consumer.ts'] }),
        );
        run(process.execPath, [path.resolve('node_modules/typescript/bin/tsc'), '-p', project], folder);
      };

      test('for Node', () => {
        compile('program', OF_NODE, readFileSync('test/fixtures/package/consumer.ts', 'utf8'));
        expect(existsSync(at('program/consumer.js'))).toBe(true);
      });

      test('with the program of docs/client.md', () => {
        const blocks = [...readFileSync('docs/client.md', 'utf8').matchAll(/^```ts\n([^]*?)^```$/gm)];
        expect(blocks.length).toBeGreaterThan(4);
        compile('docs', OF_NODE, blocks.map(([, block]) => block).join('\n'));
      });

      test('for a browser', () => {
        const source = `import { AmuletClient, verifyWebhook, type Classification, type WebhookEvent } from 'amulet-classify';
        const amulet = new AmuletClient({ url: location.href });
        export const label: Promise<Classification> = amulet.classify('a');
        export const event: Promise<WebhookEvent> = verifyWebhook('', new Headers(), 'whsec_');
        export const batch = amulet.batch(new File([], 'a.csv'));`;
        const lib = ['es2022', 'dom', 'dom.iterable', 'dom.asynciterable'];
        compile('page', { target: 'es2022', types: [], lib }, source);
      });
    });

    describe(`on Node ${node.version}`, () => {
      let stack: Stack;
      let port: number;
      const secret = newSecret();
      beforeAll(async () => {
        port = await freePort();
        stack = await Stack.start({
          redisUrl: inject('redisUrl'),
          webhooks: true,
          env: { WEBHOOK_SECRET: secret, WEBHOOK_SCHEMES: 'http', WEBHOOK_ALLOW: `127.0.0.1:${port}` },
        });
        writeFileSync(at('reviews.csv'), 'id,review\n1,utterly charming\n2,"a tedious\nmess"\n3,\n');
      });
      afterAll(() => stack.stop());

      /** Not in this process's PATH or environment: nothing of the repository is to be found. */
      async function onNode(
        ...args: string[]
      ): Promise<{ code: number | null; stdout: string; stderr: string }> {
        const child = spawn(node.command, args, { cwd: folder, env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
        const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
        const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
        return { code: await ended, stdout, stderr };
      }
      const amulet = (...args: string[]) => onNode(at('node_modules/.bin/amulet'), ...args);

      test('a program submits, waits, runs a batch and receives a webhook', async () => {
        const args = [stack.url, String(port), secret, at('reviews.csv')];
        const { code, stdout, stderr } = await onNode(at('program/consumer.js'), ...args);
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
        expect(JSON.parse(stdout)).toEqual({
          job: [' POSITIVE', 'b NEGATIVE'],
          event: 'job.succeeded',
          one: ['POSITIVE', 'NEGATIVE'],
          several: ['POSITIVE'],
          rows: ['2 POSITIVE', '3 NEGATIVE', 'invalid_text'],
          refused: 'job_not_found',
          deliveries: ['evt_ delivered'],
          models: ['sst2-minilm'],
        });
      });

      test('amulet backfill', async () => {
        const args = [
          at('reviews.csv'),
          '--out',
          at('labels.jsonl'),
          '--text-field',
          'review',
          '--url',
          stack.url,
        ];
        const { code, stderr } = await amulet('backfill', ...args);
        expect({ code, stderr }).toMatchObject({ code: 3, stderr: expect.stringContaining('3 rows') });
        const labels = readFileSync(at('labels.jsonl'), 'utf8').trimEnd().split('\n');
        expect(labels.map((line) => JSON.parse(line) as unknown)).toMatchObject([
          { line: 2, id: '1', label: 'POSITIVE' },
          { line: 3, id: '2', label: 'NEGATIVE' },
          { line: 5, id: '3', error: { code: 'invalid_text' } },
        ]);
      });

      test('other commands work, or name in one line what they need', async () => {
        const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
        expect(await amulet('--version')).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
        expect((await amulet('key', 'create', 'reviews')).stdout).toMatch(/^amk_/);
        expect((await amulet('listen', '--help')).stdout).toContain('amulet listen');
        expect(await amulet('model', 'pull', 'owner/name')).toEqual({
          code: 1,
          stdout: '',
          stderr: 'amulet: model pull needs two more packages: npm install @huggingface/hub zod\n',
        });
        const needsSdk = {
          code: 1,
          stdout: '',
          stderr: 'amulet: s3:// needs one more package: npm install @aws-sdk/client-s3\n',
        };
        expect(await amulet('backfill', 's3://bucket/in.jsonl', '--out', 'out.jsonl')).toEqual(needsSdk);
        expect(await amulet('backfill', 'in.jsonl', '--out', 's3://bucket/out.jsonl')).toEqual(needsSdk);
        const check = await amulet('model', 'check', 'models/a');
        expect(check).toMatchObject({ code: 1, stdout: '' });
        expect(check.stderr).toMatch(/^amulet: model check needs the worker, .*\n$/);
      });
    });
  },
);
