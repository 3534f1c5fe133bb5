/** Locks the data folder for one launcher: a second one would share the first one's Redis, and stop it when it ends. */
import { lstatSync, renameSync, rmSync, type Stats } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { temporarySocket } from './data-dir.ts';

/**
 * Locks the folder until the process ends. The lock is a listening socket: unlike a pid file it does not outlive a killed
 * process, whose pid another process may have by now. The folder need not exist yet.
 * @throws StartupError when another launcher has the lock
 */
export async function lockDataDir(dataDir: string): Promise<void> {
  const dir = path.resolve(dataDir);
  const socket = temporarySocket(
    // One name per user: a socket that another user left behind cannot be removed.
    `amulet-launcher-${createHash('sha256').update(`${process.getuid?.()} ${dir}`).digest('hex').slice(0, 16)}.sock`,
  );
  let server: Server | undefined;
  while ((server = await listen(socket)) === undefined) {
    const found = lstatSync(socket, { throwIfNoEntry: false });
    if (await isListenedTo(socket)) {
      throw new StartupError(
        `another \`npm start\` already uses ${dataDir}: stop it first, or set DATA_DIR to another folder`,
      );
    }
    try {
      removeLeftover(socket, found);
    } catch (error) {
      throw new StartupError(`cannot remove the stale lock ${socket}: ${toError(error).message}`);
    }
  }
  server.unref();
}

/** @returns undefined when the file exists already */
function listen(socket: string): Promise<Server | undefined> {
  const server = createServer((connection) => connection.end());
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else
        reject(
          new StartupError(
            `cannot create ${socket} (${error.message}): make room there, or set TMPDIR to a folder that this user may write to`,
          ),
        );
    });
    server.listen(socket, () => resolve(server));
  });
}

/**
 * Removes a socket that no process listens on. Another launcher may have done so meanwhile, and listen there now: the file is
 * moved away first, compared with the one that was found, and moved back if it is another one.
 */
function removeLeftover(socket: string, found: Stats | undefined): void {
  const aside = `${socket}.${process.pid}`;
  try {
    renameSync(socket, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = lstatSync(aside);
  if (moved.ino === found?.ino && moved.mtimeMs === found.mtimeMs) rmSync(aside);
  else renameSync(aside, socket);
}

function isListenedTo(socket: string): Promise<boolean> {
  const connection = createConnection(socket);
  const connected = once(connection, 'connect').then(
    () => true,
    () => false,
  );
  return connected.finally(() => connection.destroy());
}
