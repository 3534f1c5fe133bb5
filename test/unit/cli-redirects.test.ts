/** A server of the internet must not redirect the command into the private network. Here 127.0.0.2 is the internet. */
import { createServer, type Server } from 'node:http';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

vi.mock('../../src/cli/backfill/remote/private-addresses.ts', async (original) => {
  const module = await original<typeof import('../../src/cli/backfill/remote/private-addresses.ts')>();
  return { ...module, isPrivate: (address: string) => address !== '127.0.0.2' };
});
vi.resetModules();
const { httpFile } = await import('../../src/cli/backfill/remote/http-file.ts');
const { RemoteFile } = await import('../../src/cli/backfill/remote/remote-file.ts');
const { isPrivate } = await vi.importActual<
  typeof import('../../src/cli/backfill/remote/private-addresses.ts')
>('../../src/cli/backfill/remote/private-addresses.ts');

let server: Server;
let port: number;
let asked: string[] = [];
beforeAll(async () => {
  server = createServer((request, response) => {
    asked.push(`${request.headers.host}${request.url}`);
    const location = new URL(request.url ?? '', 'http://x').searchParams.get('to');
    if (location === null) response.end('secret');
    else response.writeHead(302, { location: location.replace('PORT', String(port)) }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  ({ port } = server.address() as { port: number });
});
afterAll(() => {
  server.close();
  vi.doUnmock('../../src/cli/backfill/remote/private-addresses.ts');
  vi.resetModules();
});

const open = (host: string, location: string) =>
  RemoteFile.open(httpFile(`http://${host}:${port}/?to=${encodeURIComponent(location)}`), {
    signal: new AbortController().signal,
    retryTimeoutMs: 500,
  });

test.each([
  'http://127.0.0.1:PORT/',
  'http://localhost:PORT/',
  'http://[::ffff:7f00:1]:PORT/',
  'http://2130706433:PORT/',
])('from the internet to %s: refused, and not asked', async (location) => {
  asked = [];
  await expect(open('127.0.0.2', location)).rejects.toThrow(
    /^a server of the internet redirects to \S+, an address of a private network: if you trust it, name that address instead$/,
  );
  expect(asked).toHaveLength(1);
});

test('by way of the internet: refused', async () => {
  const private_ = encodeURIComponent('http://127.0.0.1:PORT/');
  await expect(open('127.0.0.1', `http://127.0.0.2:PORT/?to=${private_}`)).rejects.toThrow(/private network/);
});

test('within the internet, and within the private network: followed', async () => {
  expect(Buffer.from((await open('127.0.0.2', 'http://127.0.0.2:PORT/')).head).toString()).toBe('secret');
  expect(Buffer.from((await open('127.0.0.1', 'http://127.0.0.3:PORT/')).head).toString()).toBe('secret');
});

describe('addresses', () => {
  test.each([
    '127.0.0.1',
    '10.1.2.3',
    '172.31.0.1',
    '192.168.1.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '::1',
    '::',
    'fd00::1',
    'fe80::1',
    '::ffff:10.0.0.1',
  ])('private: %s', (address) => expect(isPrivate(address)).toBe(true));
  test.each(['8.8.8.8', '172.32.0.1', '2606:4700::1111', '::ffff:8.8.8.8'])('public: %s', (address) =>
    expect(isPrivate(address)).toBe(false),
  );
});
