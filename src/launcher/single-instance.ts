/** One launcher per data folder: a second would share, and on its way out stop, the first one's Redis. */
import { mkdirSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { StartupError, toError } from '../shared/errors.ts';

/**
 * Holds the folder until the process ends. A listening socket is the lock: unlike a pid file it cannot be left behind by
 * a killed process, whose number somebody else may have by now.
 * @throws StartupError when another launcher holds it
 */
export async function holdDataDir(dataDir: string): Promise<void> {
  const dir = path.resolve(dataDir);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const socket = path.join(
    tmpdir(),
    // Each user's own: a socket that somebody else has left in there cannot be removed.
    `amulet-launcher-${createHash('sha256').update(`${process.getuid?.()} ${dir}`).digest('hex').slice(0, 16)}.sock`,
  );
  if (await somebodyListens(socket)) {
    throw new StartupError(
      `another \`npm start\` already uses ${dataDir}: stop it first, or set DATA_DIR to another folder`,
    );
  }
  try {
    rmSync(socket, { force: true });
  } catch (error) {
    throw new StartupError(`${socket} is in the way: ${toError(error).message}`);
  }
  const server = createServer((connection) => connection.end());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socket, resolve);
  });
  server.unref();
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
