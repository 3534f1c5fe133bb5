/** Opens the listening socket of an HTTP server, and sets its timeouts for idle connections and slow headers. */
import type { Server as HttpServer } from 'node:http';
import type { Server } from 'node:net';
import { StartupError } from './startup-error.ts';

/** What the names of the settings for an address and a port begin with. */
export type ListenPrefix = '' | 'METRICS_' | 'WORKER_' | 'WEBHOOK_HEALTH_';

/**
 * Listens at an address that two settings name.
 * @throws StartupError that names the setting to change
 */
export function listen(
  server: Pick<Server, 'listen' | 'once' | 'off'>,
  { host, port, prefix }: { host: string; port: number; prefix: ListenPrefix },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const noAddress = `${prefix}HOST=${host} is no address of this machine`;
      const reasons: Record<string, string> = {
        EADDRINUSE: `port ${port} on ${host} is in use: stop what listens there, or set ${prefix}PORT to another one`,
        EACCES: `port ${port} needs more rights than this user has: set ${prefix}PORT to one above 1023`,
        EADDRNOTAVAIL: noAddress,
        ENOTFOUND: noAddress,
        EAI_AGAIN: `${prefix}HOST=${host} cannot be looked up just now`,
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

/** How much longer than idle connections are kept a request may take to send its headers. */
const HEADERS_AFTER_IDLE_MS = 5000;
/** As Node has it. */
const MIN_HEADERS_MS = 60_000;
/** While a server closes, connections become idle one by one. */
const CLOSE_IDLE_MS = 100;

/**
 * Keeps idle connections open for so long. A load balancer that keeps its own longer sends requests into a connection that
 * is being closed, and answers 502.
 * @param server as `createAdaptorServer` returns it; over HTTP/2 nothing of this applies
 */
export function keepAlive(server: object, seconds: number): void {
  if (!isHttp1(server)) return;
  server.keepAliveTimeout = seconds * 1000;
  // Below it, a connection could be ended while its next request arrives.
  server.headersTimeout = Math.max(MIN_HEADERS_MS, server.keepAliveTimeout + HEADERS_AFTER_IDLE_MS);
}

/** Stops listening, and resolves when the last request is answered: idle connections do not hold it up. */
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

/** Whether it is another process that keeps listen() from its port. */
export function isPortTaken(error: unknown): boolean {
  const cause = error instanceof StartupError ? error.cause : undefined;
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE';
}
