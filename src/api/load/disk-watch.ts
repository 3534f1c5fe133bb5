/** The disks of this API: what they have left, for /metrics, and a line in the log when one becomes short of room or has it again. */
import type { DiskReserve } from '../../shared/runtime/disk-reserve.ts';
import type { Logger } from '../../shared/runtime/logger.ts';

export interface WatchedDisk {
  /** What is on it. */
  disk: 'batches' | 'redis';
  reserve: DiskReserve;
}

export interface DiskReading {
  disk: string;
  freeBytes: number;
  /** To be kept free. */
  reserveBytes: number;
}

export class DiskWatch {
  readonly #disks: readonly WatchedDisk[];
  readonly #logger: Logger;
  readonly #short = new Set<string>();
  #readings: readonly DiskReading[] = [];

  constructor(disks: readonly WatchedDisk[], logger: Logger) {
    this.#disks = disks;
    this.#logger = logger;
  }

  /** As of the last look, so that a disk that hangs holds up no scrape; without those whose folder is not there. */
  get readings(): readonly DiskReading[] {
    return this.#readings;
  }

  /** To be called now and then. */
  async check(): Promise<void> {
    const all = await Promise.all(
      this.#disks.map(async ({ disk, reserve }) => {
        const room = await reserve.room();
        return room === undefined ? [] : [{ disk, ...room }];
      }),
    );
    this.#readings = all.flat();
    for (const { disk, freeBytes, reserveBytes } of this.#readings) {
      const isShort = freeBytes < reserveBytes;
      if (isShort === this.#short.has(disk)) continue;
      const bytes = { disk, freeBytes, MIN_FREE_DISK_BYTES: reserveBytes };
      if (isShort) {
        this.#short.add(disk);
        this.#logger.warn(bytes, `the disk of ${disk} has too little room: new work is refused; make room`);
      } else {
        this.#short.delete(disk);
        this.#logger.warn(bytes, `the disk of ${disk} has room again`);
      }
    }
  }
}
