/** When the launcher says that Amulet is ready, and the command that it prints to try. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { tryCommand, waitUntilServed } from '../../src/launcher/wait-until-served.ts';
import { keyLine } from '../../src/shared/runtime/api-keys.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';

let server: Server | undefined;
afterEach(() => server?.close());

/** An API that answers one after the other, and goes on with the last. */
async function api(...answers: (Record<string, number> | undefined)[]): Promise<string> {
  server = createServer((_request, response) => {
    const models = answers.length > 1 ? answers.shift() : answers[0];
    response.writeHead(models ? 200 : 503).end(JSON.stringify(models ? { status: 'ready', models } : {}));
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const never = () => false;

test('waits for Redis and for a worker of the default model', async () => {
  const address = await api(undefined, {}, { own: 0 }, { own: 1 });
  expect(await waitUntilServed(address, ['own', 'own'], never)).toBe('own');
});

test('does not wait for a default model that only workers elsewhere could serve', async () => {
  expect(await waitUntilServed(await api({}, { own: 1 }), ['absent', 'own'], never)).toBe('own');
  server?.close();
  expect(await waitUntilServed(await api({ own: 1, absent: 1 }), ['absent', 'own'], never)).toBe('absent');
});

test('gives up after a time, and when the launcher stops', async () => {
  const address = await api({});
  expect(await waitUntilServed(address, ['own'], never, 50)).toBeUndefined();
  expect(await waitUntilServed(address, ['own'], () => true)).toBeUndefined();
  expect(await waitUntilServed('http://127.0.0.1:1', ['own'], never, 50)).toBeUndefined();
});

test('the suggested curl command has the key and model that a request needs', () => {
  const keyless = loadConfig({});
  expect(tryCommand('http://h:1', keyless, 'sentiment-multilingual')).toMatch(
    /^curl -s http:\/\/h:1\/predict -H 'Content-Type.*beast"}'$/,
  );
  expect(tryCommand('http://h:1', keyless, 'other')).toContain('"model": "other"');
  const keyed = loadConfig({ API_KEYS: keyLine('a', 'key') });
  expect(tryCommand('http://h:1', keyed, 'sst2-minilm')).toContain(
    '-H "Authorization: Bearer $AMULET_API_KEY"',
  );
});
