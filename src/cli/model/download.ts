/** Downloads one file from the hub: resumes an interrupted download, and accepts only the content that the hub lists. */
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
  /** Called with the number of bytes of the file on the disk. */
  onBytes: (bytes: number) => void;
}

/**
 * Downloads a file into `folder`, after any bytes of it that are there.
 * @returns its SHA-256
 * @throws CliError when the content differs from the hub's list twice
 */
export async function download(file: HubFile, folder: string, deps: DownloadDeps): Promise<string> {
  const target = path.join(folder, file.path);
  await mkdir(path.dirname(target), { recursive: true });
  for (let attempt = 1; ; attempt++) {
    const reached = { bytes: 0 };
    await deps.retrier.run(() => append(file, target, reached, deps));
    const { sha256, same } = await verify(file, target, deps.signal);
    if (same) return sha256;
    // Bytes of an earlier run may have been damaged: download once more, from the start.
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
 * Appends to the file until it has its size.
 * @param reached the largest size so far. Only bytes beyond it count as progress, so that a server that starts at 0 and breaks
 *   off every time is not retried for ever
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
      // Larger than listed: the hash will not match either.
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

/** Hashes `target` and compares it with the hub's list. @throws the reason of the signal, or a system error */
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
