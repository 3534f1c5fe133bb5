/**
 * DiskReserve: keeps a part of a disk free. New work is refused while less than the reserve is left; finishing accepted work may
 * use half of it; the other half is for Redis, which ends when it cannot write.
 */
import { statfs } from 'node:fs/promises';

/** Bytes to keep free; `auto`: 1 GB, or a tenth of a disk of less than 10 GB; 0: none. */
export type MinFree = number | 'auto';

export interface DiskSpace {
  /** Free for unprivileged users. */
  freeBytes: number;
  totalBytes: number;
  /** Free inodes; undefined where the file system has no fixed number of them. */
  freeFiles: number | undefined;
}

/** Bytes that a disk has left, and bytes that it should have. */
export interface Shortage {
  freeBytes: number;
  wantedBytes: number;
}

/** Purpose of a write: `new` work is refused first. */
export type Purpose = 'new' | 'finish';

const AUTO_BYTES = 1e9;
const AUTO_SHARE = 0.1;
const FINISH_SHARE = 0.5;
/** Age at which a measurement is repeated; earlier when the bytes written since would leave too little. */
const FRESH_MS = 500;
/** A file takes whole blocks. */
const BLOCK_BYTES = 4096;

export class DiskReserve {
  readonly #folder: string;
  readonly #minFree: MinFree;
  #measured: Promise<DiskSpace | undefined> | undefined;
  #measuredAt = -Infinity;
  /** Bytes written since the measurement. */
  #writtenBytes = 0;

  /** @param folder any folder on the disk */
  constructor(folder: string, minFree: MinFree) {
    this.#folder = folder;
    this.#minFree = minFree;
  }

  /**
   * Checks whether the disk has room for a write.
   * @param bytes to be written now
   * @returns undefined when it has, or when the file system does not tell
   */
  async shortage(purpose: Purpose, bytes = 0): Promise<Shortage | undefined> {
    if (this.#minFree === 0) return undefined;
    const size = Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
    let shortage: Shortage | undefined;
    for (const maxAgeMs of [FRESH_MS, 0]) {
      const space = await this.#measure(maxAgeMs);
      if (space === undefined) return undefined;
      const { freeBytes, totalBytes } = space;
      const reserve = reserveBytes(this.#minFree, totalBytes);
      const wantedBytes = Math.round(purpose === 'new' ? reserve : reserve * FINISH_SHARE);
      if (freeBytes - this.#writtenBytes - size >= wantedBytes) {
        this.#writtenBytes += size;
        return undefined;
      }
      shortage = { freeBytes, wantedBytes };
    }
    return shortage;
  }

  /** Free bytes and the reserve; undefined when the file system does not tell. */
  async room(): Promise<{ freeBytes: number; reserveBytes: number } | undefined> {
    const space = await this.#measure(FRESH_MS);
    if (space === undefined) return undefined;
    return { freeBytes: space.freeBytes, reserveBytes: reserveBytes(this.#minFree, space.totalBytes) };
  }

  async #measure(maxAgeMs: number): Promise<DiskSpace | undefined> {
    if (this.#measured === undefined || performance.now() - this.#measuredAt >= maxAgeMs) {
      this.#measuredAt = performance.now();
      this.#writtenBytes = 0;
      this.#measured = diskSpace(this.#folder);
    }
    return this.#measured;
  }
}

/** @returns undefined when the folder is missing or its file system does not tell */
export async function diskSpace(folder: string): Promise<DiskSpace | undefined> {
  try {
    const { bsize, frsize, blocks, bavail, files, ffree } = await statfs(folder);
    if (blocks === 0) return undefined;
    // Blocks are counted in `frsize` where it is known (Node 24).
    const unit = frsize || bsize;
    return {
      freeBytes: bavail * unit,
      totalBytes: blocks * unit,
      freeFiles: files > 0 ? ffree : undefined,
    };
  } catch {
    return undefined;
  }
}

/** Bytes of a disk that must stay free. */
function reserveBytes(minFree: MinFree, totalBytes: number): number {
  return minFree === 'auto' ? Math.min(AUTO_BYTES, totalBytes * AUTO_SHARE) : minFree;
}
