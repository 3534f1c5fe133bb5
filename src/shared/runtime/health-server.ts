/** What processes tell beside their work, on a port of its own: metrics, and health where the process is no API. */
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import type { Registry } from 'prom-client';
import type { Config } from './config.ts';
import { isPortTaken, keepAlive, listen, type ListenPrefix } from './listen.ts';
import { measureLoopLag } from './loop-lag.ts';
import { createMetricsApp } from './metrics.ts';
import { createHostCheck } from './request-host.ts';

export interface ProcessState {
  /** Why the process takes no work, or undefined when it does. */
  notReady: string | undefined;
  /** Whatever else it says about itself. */
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

/** For requests to a loopback port that a web page made under a name of its own, which there are no keys to stop. */
const FOREIGN_HOST = `this port answers to localhost, loopback addresses and the host of PUBLIC_URL, and this Host is another\n`;

/**
 * Listens on the port of the settings with this prefix, or on any free one when that is taken: workers share machines, and
 * health must not keep one down.
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
