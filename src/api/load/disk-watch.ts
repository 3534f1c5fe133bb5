/** Disk watch: measures the free space of the API's disks for /metrics, and logs when one falls below its reserve or recovers. */
import type { DiskReserve } from '../../shared/runtime/disk-reserve.ts';
import type { Logger } from '../../shared/runtime/logger.ts';

export interface DiskReading {
  disk: string;
  freeBytes: number;
  /** Bytes that must stay free. */
  reserveBytes: number;
}

export class DiskWatch {
  readonly #disks: readonly [name: string, reserve: DiskReserve][];
  readonly #logger: Logger;
  readonly #short = new Set<string>();
  #readings: readonly DiskReading[] = [];

  /** @param disks the reserve of each disk by its use, for log lines; undefined: not a disk of this machine */
  constructor(disks: Readonly<Record<'batches' | 'redis', DiskReserve | undefined>>, logger: Logger) {
    this.#disks = Object.entries(disks).flatMap(([name, reserve]) => (reserve ? [[name, reserve]] : []));
    this.#logger = logger;
  }

  /** The readings of the last check, so that a disk that hangs does not block a scrape; without disks whose folder is missing. */
  get readings(): readonly DiskReading[] {
    return this.#readings;
  }

  /** Reads the disks. Call it every few seconds. */
  async check(): Promise<void> {
    const all = await Promise.all(
      this.#disks.map(async ([disk, reserve]) => {
        const room = await reserve.room();
        return room === undefined ? [] : [{ disk, ...room }];
      }),
    );
    this.#readings = all.flat();
    for (const { disk, freeBytes, reserveBytes } of this.#readings) {
      const isShort = freeBytes < reserveBytes;
      if (isShort === this.#short.has(disk)) continue;
      const bytes = { disk, freeBytes, MIN_FREE_DISK_BYTES: reserveBytes };
      if (isShort) this.#short.add(disk);
      else this.#short.delete(disk);
      const state = isShort
        ? 'too little free space: new work is refused until there is more'
        : 'enough free space again';
      this.#logger.warn(bytes, `the disk of ${disk} has ${state}`);
    }
  }
}
