/**
 * The part of a disk that is kept free. New work is refused while less than the reserve is left; what finishes accepted work
 * may use half of it; the rest is Redis', which ends when it cannot write.
 */
import { statfs } from 'node:fs/promises';

/** Bytes to keep free; `auto`: 1 GB, or a tenth of a disk of less than 10 GB; 0: none. */
export type MinFree = number | 'auto';

export interface DiskSpace {
  /** For a user without special rights. */
  freeBytes: number;
  totalBytes: number;
  /** Files that can still be made; undefined where they have no limit of their own. */
  freeFiles: number | undefined;
}

/** What a disk has left, and what it should have. */
export interface Shortage {
  freeBytes: number;
  wantedBytes: number;
}

/** Who writes: `new` work is the first to be refused. */
export type Purpose = 'new' | 'finish';

const AUTO_BYTES = 1e9;
const AUTO_SHARE = 0.1;
const FINISH_SHARE = 0.5;
/** The disk is looked at again after so long, and whenever what was written since would leave too little. */
const FRESH_MS = 500;
/** A file takes whole blocks. */
const BLOCK_BYTES = 4096;

export class DiskReserve {
  readonly #folder: string;
  readonly #minFree: MinFree;
  #seen: Promise<DiskSpace | undefined> | undefined;
  #seenAt = -Infinity;
  /** Since then. */
  #writtenBytes = 0;

  /** @param folder any on the disk */
  constructor(folder: string, minFree: MinFree) {
    this.#folder = folder;
    this.#minFree = minFree;
  }

  /**
   * Whether there is too little room to write.
   * @param bytes that are to be written now
   * @returns undefined when there is enough, or nobody knows
   */
  async shortage(purpose: Purpose, bytes = 0): Promise<Shortage | undefined> {
    if (this.#minFree === 0) return undefined;
    const size = Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
    let shortage: Shortage | undefined;
    for (const maxAgeMs of [FRESH_MS, 0]) {
      const space = await this.#look(maxAgeMs);
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

  /** What is left and what is to stay; undefined when nobody knows. */
  async room(): Promise<{ freeBytes: number; reserveBytes: number } | undefined> {
    const space = await this.#look(FRESH_MS);
    if (space === undefined) return undefined;
    return { freeBytes: space.freeBytes, reserveBytes: reserveBytes(this.#minFree, space.totalBytes) };
  }

  async #look(maxAgeMs: number): Promise<DiskSpace | undefined> {
    if (this.#seen === undefined || performance.now() - this.#seenAt >= maxAgeMs) {
      this.#seenAt = performance.now();
      this.#writtenBytes = 0;
      this.#seen = diskSpace(this.#folder);
    }
    return this.#seen;
  }
}

/** @returns undefined when the folder is not there, or its file system does not say */
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

/** Bytes of a disk that are to stay free. */
function reserveBytes(minFree: MinFree, totalBytes: number): number {
  return minFree === 'auto' ? Math.min(AUTO_BYTES, totalBytes * AUTO_SHARE) : minFree;
}
