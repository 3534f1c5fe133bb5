/** A process that cannot listen says which setting to change. */
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { StartupError } from '../../src/shared/runtime/startup-error.ts';
import { isPortTaken, listen } from '../../src/shared/runtime/listen.ts';

const servers: Server[] = [];
const server = () => {
  const one = createServer();
  servers.push(one);
  return one;
};
afterEach(() => {
  for (const one of servers.splice(0)) one.close();
});

async function failure(host: string, port: number): Promise<unknown> {
  return listen(server(), { host, port, prefix: 'METRICS_' }).catch((error: unknown) => error);
}

test('at an address that is not of this machine', async () => {
  const error = await failure('192.0.2.1', 0);
  expect(error).toEqual(new StartupError('METRICS_HOST=192.0.2.1 is not an address of this machine'));
  expect(isPortTaken(error)).toBe(false);
});

test('on a port in use', async () => {
  const first = server();
  await listen(first, { host: '127.0.0.1', port: 0, prefix: '' });
  const { port } = first.address() as AddressInfo;
  const error = await failure('127.0.0.1', port);
  expect(error).toBeInstanceOf(StartupError);
  expect((error as Error).message).toMatch(/is in use: .* set METRICS_PORT to another port$/);
  expect(isPortTaken(error)).toBe(true);
});
