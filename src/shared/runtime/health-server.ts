/** The second HTTP server of a process, for operators: `/metrics`, and `/health` of workers and webhook processes. */
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import type { Registry } from 'prom-client';
import type { Config } from './config.ts';
import { isPortTaken, keepAlive, listen, type ListenPrefix } from './listen.ts';
import { measureLoopLag } from './loop-lag.ts';
import { createMetricsApp } from './metrics.ts';
import { createHostCheck } from './request-host.ts';

export interface ProcessState {
  /** Why the process takes no work; undefined when it does. */
  notReady: string | undefined;
  /** Further members of the answer. */
  [name: string]: unknown;
}

/** `/health/live`: the process answers. `/health/ready` (= `/health`): it takes work. `/metrics`: for Prometheus. */
export function createHealthApp(state: () => ProcessState, metrics: Registry): Hono {
  const lag = measureLoopLag();
  const body = () => {
    const { notReady, ...rest } = state();
    return {
      status: notReady === undefined ? 'ready' : 'not_ready',
      ...(notReady === undefined ? {} : { reason: notReady }),
      ...rest,
      loop_lag_ms: lag(),
    };
  };
  const app = new Hono();
  app.get('/health/live', (c) => c.json({ ...body(), status: 'live' }));
  for (const path of ['/health', '/health/ready']) {
    app.get(path, (c) => {
      const answer = body();
      return c.json(answer, answer.status === 'ready' ? 200 : 503);
    });
  }
  app.route('/', createMetricsApp(metrics));
  return app;
}

/** Answer to a request from a web page that reached this loopback port under its own host name (DNS rebinding). */
const FOREIGN_HOST =
  'this port answers only requests whose Host is localhost, a loopback address or the host of PUBLIC_URL\n';

/**
 * Listens on the port of the settings with this prefix, or on any free port when that is taken: workers share machines, and a
 * health port must not keep one from starting.
 * @returns the port, and a function that closes the server
 * @throws StartupError
 */
export async function serveHealth(
  app: Hono,
  config: Config,
  prefix: Exclude<ListenPrefix, ''>,
): Promise<{ port: number; close: () => Promise<void> }> {
  const host = config[`${prefix}HOST`];
  const isAnswered = createHostCheck(host, config.PUBLIC_URL);
  const guarded = new Hono();
  guarded.use(async (c, next) => {
    const name = c.req.header('host');
    if (name !== undefined && isAnswered?.(name) === false) return c.text(FOREIGN_HOST, 403);
    return next();
  });
  guarded.route('/', app);
  const server = createAdaptorServer({ fetch: guarded.fetch });
  keepAlive(server, config.KEEP_ALIVE_S);
  const port = config[`${prefix}PORT`];
  try {
    await listen(server, { host, port, prefix });
  } catch (error) {
    if (!isPortTaken(error)) throw error;
    await listen(server, { host, port: 0, prefix });
  }
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  };
}
