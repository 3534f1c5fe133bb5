/** One file from the hub to the disk: resumed after a cut or a kill, and nothing but the bytes that the hub lists. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, stat, truncate } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ConnectionError } from '../../client/errors.ts';
import type { Retrier } from '../../client/retry.ts';
import { CliError, EXIT } from '../terminal/exit.ts';
import type { HubFile } from './hub-files.ts';
import type { Hub, Repository } from './hub.ts';

export interface DownloadDeps {
  hub: Hub;
  repository: Repository;
  retrier: Retrier;
  signal: AbortSignal;
  /** Told how many bytes of the file are on the disk. */
  onBytes: (bytes: number) => void;
}

/**
 * Brings a file under `folder`, whatever of it is there already.
 * @returns its SHA-256
 * @throws CliError when what came is not what the hub lists, twice
 */
export async function download(file: HubFile, folder: string, deps: DownloadDeps): Promise<string> {
  const target = path.join(folder, file.path);
  await mkdir(path.dirname(target), { recursive: true });
  for (let attempt = 1; ; attempt++) {
    const reached = { bytes: 0 };
    await deps.retrier.run(() => append(file, target, reached, deps));
    const { sha256, same } = await verify(file, target, deps.signal);
    if (same) return sha256;
    // What was there before may have been damaged: once more, from nothing.
    await truncate(target, 0);
    if (attempt === 2) {
      const { algorithm, hex } = file.hash;
      throw new CliError(EXIT.failed, `${file.path} does not have the content that the hub lists`, [
        `expected ${algorithm === 'sha256' ? 'SHA-256' : 'git blob'} ${hex}`,
      ]);
    }
  }
}

/**
 * Goes on behind what is there, until the file has its size.
 * @param reached the most that there ever was. Only what goes beyond it is progress: a server that cannot begin in the
 *   middle, and breaks off every time, is not to be asked for ever
 */
async function append(
  file: HubFile,
  target: string,
  reached: { bytes: number },
  { hub, repository, retrier, signal, onBytes }: DownloadDeps,
): Promise<void> {
  const size = await sizeOf(target);
  let have = size > file.bytes ? 0 : size;
  onBytes(have);
  if (have === file.bytes && have > 0) return;
  const { from, body } = await hub.open(repository, file, have);
  have = from;
  const handle = await open(target, 'a');
  try {
    await handle.truncate(have);
    for await (const chunk of body) {
      signal.throwIfAborted();
      await handle.appendFile(chunk);
      have += chunk.length;
      onBytes(have);
      // More than is listed: its hash will not be right either.
      if (have > file.bytes) break;
      if (have > reached.bytes) retrier.succeeded();
      reached.bytes = Math.max(reached.bytes, have);
    }
    await handle.sync();
    if (have < file.bytes) throw new ConnectionError('ECONNRESET', 'connection lost');
  } finally {
    await handle.close();
  }
}

/** Whether `target` has the bytes that the hub lists. @throws the reason of the signal, or when it cannot be read */
export async function verify(
  { bytes, hash }: HubFile,
  target: string,
  signal: AbortSignal,
): Promise<{ sha256: string; same: boolean }> {
  const sha256 = createHash('sha256');
  const blob = createHash('sha1').update(`blob ${bytes}\0`);
  await pipeline(createReadStream(target), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      signal.throwIfAborted();
      for (const each of [sha256, blob] as Hash[]) each.update(chunk);
    }
  });
  const hex = sha256.digest('hex');
  return { sha256: hex, same: (hash.algorithm === 'sha256' ? hex : blob.digest('hex')) === hash.hex };
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => ({ size: 0 }))).size;
}
