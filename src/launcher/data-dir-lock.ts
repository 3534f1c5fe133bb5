/** One launcher per data folder: a second would share, and on its way out stop, the first one's Redis. */
import { lstatSync, renameSync, rmSync, type Stats } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { temporarySocket } from './data-dir.ts';

/**
 * Holds the folder until the process ends. A listening socket is the lock: unlike a pid file it cannot be left behind by
 * a killed process, whose number somebody else may have by now. The folder need not be there yet.
 * @throws StartupError when another launcher holds it
 */
export async function lockDataDir(dataDir: string): Promise<void> {
  const dir = path.resolve(dataDir);
  const socket = temporarySocket(
    // Each user's own: a socket that somebody else has left in there cannot be removed.
    `amulet-launcher-${createHash('sha256').update(`${process.getuid?.()} ${dir}`).digest('hex').slice(0, 16)}.sock`,
  );
  let server: Server | undefined;
  while ((server = await listen(socket)) === undefined) {
    const found = lstatSync(socket, { throwIfNoEntry: false });
    if (await somebodyListens(socket)) {
      throw new StartupError(
        `another \`npm start\` already uses ${dataDir}: stop it first, or set DATA_DIR to another folder`,
      );
    }
    try {
      removeLeftover(socket, found);
    } catch (error) {
      throw new StartupError(`${socket} is in the way: ${toError(error).message}`);
    }
  }
  server.unref();
}

/** @returns undefined when there is such a file already */
function listen(socket: string): Promise<Server | undefined> {
  const server = createServer((connection) => connection.end());
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else
        reject(
          new StartupError(
            `${socket} cannot be made (${error.message}): make room there, or set TMPDIR to a folder that this user may write to`,
          ),
        );
    });
    server.listen(socket, () => resolve(server));
  });
}

/**
 * Removes a socket on which nobody listened. Another launcher may have done so meanwhile, and listen there now: what is
 * moved away is looked at, and put back if it is not what was found.
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

function somebodyListens(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
