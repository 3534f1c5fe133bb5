/** What processes tell beside their work, on a port of its own: metrics, and health where the process is no API. */
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import type { Registry } from 'prom-client';
import { measureLoopLag } from './loop-lag.ts';
import { createMetricsApp } from './metrics.ts';

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

/**
 * Listens on `port`, or on any free one when that is taken: workers share machines, and health must not keep one down.
 * @returns the port, and a function that closes the server
 */
export async function serveHealth(
  app: Hono,
  host: string,
  port: number,
): Promise<{ port: number; close: () => Promise<void> }> {
  const server = createAdaptorServer({ fetch: app.fetch });
  const listen = (wanted: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(wanted, host, () => {
        server.off('error', reject);
        resolve();
      });
    });
  try {
    await listen(port);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    await listen(0);
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
