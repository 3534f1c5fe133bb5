/** The HTTP server in front of the application: its limits for connections, and its shutdown. */
import { createServer, type Server } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { closeWhenIdle, keepAlive } from '../shared/runtime/listen.ts';
import type { Config } from '../shared/runtime/config.ts';
import { closingStuckConnections, limitConnections } from './load/connections.ts';
import { oneAtATime } from './load/pipelining.ts';
import { ApiResponse } from './middleware/response-headers.ts';

/** How long requests in flight may take after the server stopped listening. */
const GRACE_MS = 5000;

export function createHttpServer(fetch: Parameters<typeof getRequestListener>[0], config: Config): Server {
  const answer = getRequestListener(fetch);
  const handle = closingStuckConnections((request, response) => void answer(request, response));
  const server = createServer(
    { ServerResponse: ApiResponse },
    oneAtATime(handle, config.MAX_PIPELINED_REQUESTS),
  );
  limitConnections(server, {
    maxConnections: config.MAX_CONNECTIONS,
    answerIdleMs: config.ANSWER_IDLE_S * 1000,
  });
  keepAlive(server, config.KEEP_ALIVE_S);
  // Node's default ends every request after 5 minutes, long uploads included; batches/upload-pace.ts times those.
  server.requestTimeout = 0;
  return server;
}

/**
 * Stops listening, and resolves when every request has ended. Waits for jobs are ended after GRACE_MS, connections a second
 * later.
 */
export async function closeHttpServer(server: Server, endWaits: () => void): Promise<void> {
  const timers = [
    setTimeout(endWaits, GRACE_MS),
    setTimeout(() => server.closeAllConnections(), GRACE_MS + 1000),
  ];
  await closeWhenIdle(server);
  timers.forEach((timer) => clearTimeout(timer));
  endWaits();
}
