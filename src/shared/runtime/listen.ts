/** Opens the listening socket of an HTTP server, and sets its timeouts for idle connections and slow headers. */
import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';
import { StartupError } from './startup-error.ts';

/** Prefix of the settings for an address and a port. */
export type ListenPrefix = '' | 'METRICS_' | 'WORKER_' | 'WEBHOOK_HEALTH_';

/**
 * Listens on the address of two settings.
 * @throws StartupError that names the setting to change
 */
export function listen(
  server: Pick<Server, 'listen' | 'once' | 'off'>,
  { host, port, prefix }: { host: string; port: number; prefix: ListenPrefix },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const noAddress = `${prefix}HOST=${host} is not an address of this machine`;
      const reasons: Record<string, string> = {
        EADDRINUSE: `port ${port} on ${host} is in use: stop the process that listens there, or set ${prefix}PORT to another port`,
        EACCES: `port ${port} needs more permissions than this user has: set ${prefix}PORT to a port above 1023`,
        EADDRNOTAVAIL: noAddress,
        ENOTFOUND: noAddress,
        EAI_AGAIN: `${prefix}HOST=${host} cannot be resolved at the moment`,
      };
      const reason = reasons[error.code ?? ''];
      reject(reason === undefined ? error : new StartupError(reason, { cause: error }));
    };
    server.once('error', fail);
    server.listen(port, host, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

/** Time for the headers of a request, beyond the time for which idle connections are kept. */
const HEADERS_AFTER_IDLE_MS = 5000;
/** Default of Node. */
const MIN_HEADERS_MS = 60_000;
/** While a server closes, connections become idle one by one. */
const CLOSE_IDLE_MS = 100;

/**
 * Sets how long idle connections stay open. A load balancer that keeps its own longer sends requests into a connection that
 * is being closed, and answers 502.
 * @param server as `createAdaptorServer` returns it; ignored for HTTP/2
 */
export function keepAlive(server: object, seconds: number): void {
  if (!isHttp1(server)) return;
  server.keepAliveTimeout = seconds * 1000;
  // Any shorter, a connection could be closed while its next request arrives.
  server.headersTimeout = Math.max(MIN_HEADERS_MS, server.keepAliveTimeout + HEADERS_AFTER_IDLE_MS);
}

/** Stops listening, and resolves when the last request is answered. Idle connections are closed. */
export async function closeWhenIdle(server: Pick<Server, 'close'>): Promise<void> {
  const closeIdle = () => {
    if (isHttp1(server)) server.closeIdleConnections();
  };
  const timer = setInterval(closeIdle, CLOSE_IDLE_MS);
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  closeIdle();
  await closed;
  clearInterval(timer);
}

const isHttp1 = (server: object): server is HttpServer => 'closeIdleConnections' in server;

/** Whether listen() failed because another process has the port. */
export function isPortTaken(error: unknown): boolean {
  const cause = error instanceof StartupError ? error.cause : undefined;
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE';
}
