/** A small disk to be filled, where this user may mount one. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmdirSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export class SmallDisk {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** @param size as mount takes it @returns the disk, or why there is none */
  static mount(size: string): SmallDisk | string {
    const folder = mkdtempSync(path.join(tmpdir(), 'amulet-small-disk-'));
    const options = ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder];
    const { status, stderr, error } = spawnSync('mount', options, { encoding: 'utf8' });
    if (status === 0) return new SmallDisk(folder);
    rmdirSync(folder);
    return `no tmpfs can be mounted: ${error?.message ?? stderr.trim()}`;
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.folder);
    return bavail * bsize;
  }

  /** Takes the room there is, but for so many bytes. @returns the file to remove for it to be there again */
  fill(leaveBytes = 0): string {
    const file = path.join(this.folder, 'filler');
    const handle = openSync(file, 'w');
    try {
      while (this.freeBytes > leaveBytes) writeSync(handle, Buffer.alloc(4096, 'x'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    } finally {
      closeSync(handle);
    }
    return file;
  }

  /** Mounts it again with other options, such as `ro`. */
  remount(options: string): void {
    const { status, stderr } = spawnSync('mount', ['-o', `remount,${options}`, this.folder], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(stderr);
  }

  unmount(): void {
    spawnSync('umount', [this.folder]);
    rmdirSync(this.folder);
  }
}
