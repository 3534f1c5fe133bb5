/** The place of the finished output: it gets the bytes as a whole or not at all. */
import { open, rename, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { exists, flush } from '../../terminal/disk.ts';
import { EXIT, Interrupted } from '../../terminal/exit.ts';
import { isClosedPipe, printRows } from '../../terminal/print.ts';

export interface Target {
  /** As given by the user. */
  name: string;
  exists: () => Promise<boolean>;
  /**
   * Writes the output; the bytes are made while they are read.
   * @param replace whatever is there, even if it appeared after exists()
   */
  put: (bytes: AsyncIterable<Uint8Array>, replace: boolean) => Promise<void>;
  /** Makes a finished file of the working folder the output; the file may be gone afterwards. */
  take: (file: string, replace: boolean) => Promise<void>;
  /** Removes what an earlier put() left when its process was killed. */
  discard: () => Promise<void>;
  /** Called once put() or take() will not be repeated by a later run. */
  settled: () => Promise<void>;
}

/** A file, which appears under its name once it is complete and on the disk. */
export function fileTarget(name: string): Target {
  const unfinished = `${name}.writing`;
  return {
    name,
    exists: () => exists(name),
    put: async (bytes) => {
      const file = await open(unfinished, 'w');
      try {
        for await (const piece of bytes) await writeAll(file, piece);
        await file.sync();
      } catch (error) {
        await file.close();
        await rm(unfinished, { force: true });
        throw error;
      }
      await file.close();
      await moveInto(unfinished, name);
    },
    take: (file) => moveInto(file, name),
    discard: () => rm(unfinished, { force: true }),
    settled: () => Promise.resolve(),
  };
}

/** Writes at the end of what was written through this handle before, or at a position. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    const at = position === undefined ? null : position + written;
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, at);
    written += bytesWritten;
  }
}

/** Renames durably: the new name survives a power failure. */
async function moveInto(from: string, target: string): Promise<void> {
  await rename(from, target);
  await flush(path.dirname(target));
}

/** Writes to standard output. @throws Interrupted when nothing reads it any more */
export async function writeToStandardOutput(bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    printRows(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), (error) => {
      if (!error) resolve();
      else reject(isClosedPipe(error) ? new Interrupted(EXIT.closedPipe) : error);
    });
  });
}
