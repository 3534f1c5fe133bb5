import type { Server } from 'node:net';
import { StartupError } from './errors.ts';

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

/** Whether it is another process that keeps listen() from its port. */
export function isPortTaken(error: unknown): boolean {
  const cause = error instanceof StartupError ? error.cause : undefined;
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'EADDRINUSE';
}
