/**
 * FileBlobs: blobs as files in a folder, which may lie on a network file system that several machines share.
 *
 * Every write goes to a temporary file under `~tmp`, is synced, and only then gets its name: by rename(2), or by link(2)
 * where nothing may be overwritten. Then the folder is synced, so that the name survives a power cut as well.
 *
 * `~tmp` is created when the store is opened, and never again: if it is missing later, the folder is another one, for example
 * because its disk is no longer mounted, and writing there would fill the wrong disk.
 */
import { createHash } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { link, mkdir, open, readdir, rename, rmdir, stat, unlink, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { DiskReserve, diskSpace, type MinFree, type Purpose } from '../runtime/disk-reserve.ts';
import { toError } from '../runtime/to-error.ts';
import { makeFolder } from '../runtime/make-folder.ts';
import { assertKey, assertPrefix, isSegment } from './keys.ts';
import {
  BlobError,
  BlobNotFound,
  type BlobStore,
  type ByteRange,
  type PutStreamOptions,
  type PutStreamResult,
} from './blob-store.ts';
import { limited, resolveRange, toBuffer } from './byte-streams.ts';
import { codeOf, ignoring, isFile, syncFolder } from './files.ts';
import { sweepTemporary, temporaryFolder, temporaryName, TOUCH_MS } from './temporary-files.ts';

const READ_BYTES = 256 * 1024;
/** Texts are private: other users of the machine have no access. */
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
/** How often a writer creates its folder again when a concurrent delete has removed it. */
const PLACE_ATTEMPTS = 20;

export class FileBlobs implements BlobStore {
  readonly place: string;
  readonly #root: string;
  readonly #reserve: DiskReserve;

  private constructor(root: string, minFree: MinFree) {
    // Normalised, without a trailing slash, because paths are compared with it.
    this.#root = path.resolve(root);
    this.place = `the blob folder ${this.#root}`;
    this.#reserve = new DiskReserve(this.#root, minFree);
  }

  /**
   * Creates the folder if it is missing.
   * @param minFree bytes of the disk that new work must leave free; finishing work may use half of them
   */
  static async open(root: string, minFree: MinFree = 0): Promise<FileBlobs> {
    const store = new FileBlobs(root, minFree);
    try {
      makeFolder(temporaryFolder(root));
    } catch (error) {
      throw await store.#translate(error);
    }
    return store;
  }

  async put(key: string, body: Uint8Array): Promise<void> {
    const target = this.#path(key);
    await this.#assertRoom('finish', body.length);
    await this.#withTemporary(async (file, temporary) => {
      await this.#on(file.writeFile(body));
      await this.#on(file.sync());
      await this.#place(key, target, () => rename(temporary, target));
    });
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    const target = this.#path(key);
    // Only spares the work in the usual case: link() decides.
    if (await this.#isTaken(key, target)) {
      // Its writer may have died before the name was on disk, and the caller relies on it.
      await this.#on(syncFolder(path.dirname(target)));
      return false;
    }
    await this.#assertRoom('finish', body.length);
    return this.#withTemporary(async (file, temporary) => {
      await this.#on(file.writeFile(body));
      await this.#on(file.sync());
      let written = true;
      await this.#place(key, target, async () => {
        try {
          await link(temporary, target);
        } catch (error) {
          if (codeOf(error) !== 'EEXIST' || !(await isFile(target))) throw error;
          written = false;
        }
      });
      return written;
    });
  }

  async putStream(
    key: string,
    source: AsyncIterable<Uint8Array>,
    options: PutStreamOptions = {},
  ): Promise<PutStreamResult> {
    const target = this.#path(key);
    const { purpose = 'new' } = options;
    const hash = createHash('sha256');
    let bytes = 0;
    await this.#assertRoom(purpose);
    return this.#withTemporary(async (file, temporary) => {
      const touch = setInterval(() => {
        const now = new Date();
        file.utimes(now, now).catch(() => {});
      }, TOUCH_MS);
      try {
        for await (const piece of limited(source, options)) {
          hash.update(piece);
          bytes += piece.length;
          await this.#assertRoom(purpose, piece.length);
          // Unlike write(), writeFile() continues until everything is written.
          await this.#on(file.writeFile(piece));
        }
      } finally {
        clearInterval(touch);
      }
      await this.#on(file.sync());
      options.signal?.throwIfAborted();
      await this.#place(key, target, () => rename(temporary, target));
      return { bytes, sha256: hash.digest('hex') };
    });
  }

  async *get(key: string, range: ByteRange = {}): AsyncGenerator<Uint8Array> {
    const { start, end } = resolveRange(range);
    // An open file keeps its content when the blob is overwritten or deleted meanwhile.
    const file = await this.#orNotFound(key, open(this.#path(key)));
    try {
      if (!(await this.#on(file.stat())).isFile()) throw new BlobNotFound(key, this.place);
      for (let at = start; at < end;) {
        const wanted = Math.min(READ_BYTES, end - at);
        const { buffer, bytesRead } = await this.#on(file.read(Buffer.allocUnsafe(wanted), 0, wanted, at));
        if (bytesRead === 0) return;
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  }

  read(key: string, range?: ByteRange): Promise<Buffer> {
    return toBuffer(this.get(key, range));
  }

  async size(key: string): Promise<number> {
    const stats = await this.#orNotFound(key, stat(this.#path(key)));
    if (!stats.isFile()) throw new BlobNotFound(key, this.place);
    return stats.size;
  }

  async *list(prefix: string): AsyncGenerator<string> {
    assertPrefix(prefix);
    await this.#assertThere();
    yield* this.#walk(prefix.slice(0, prefix.lastIndexOf('/') + 1), prefix);
  }

  async delete(keys: readonly string[]): Promise<void> {
    const targets = keys.map((key) => this.#path(key));
    await this.#assertThere();
    const folders = new Set<string>();
    for (const target of targets) {
      await this.#on(ignoring(unlink(target), 'ENOENT', 'ENOTDIR', 'EISDIR'));
      folders.add(path.dirname(target));
    }
    for (const folder of folders) await this.#prune(folder);
  }

  sweep(olderThanMs?: number): Promise<number> {
    return this.#on(sweepTemporary(temporaryFolder(this.#root), olderThanMs));
  }

  close(): void {
    // Nothing is kept open.
  }

  #path(key: string): string {
    assertKey(key);
    return path.join(this.#root, ...key.split('/'));
  }

  /** @throws BlobError `blob_store_full` when the disk has less left than must stay free */
  async #assertRoom(purpose: Purpose, bytes = 0): Promise<void> {
    const shortage = await this.#reserve.shortage(purpose, bytes);
    if (shortage === undefined) return;
    const { freeBytes, wantedBytes } = shortage;
    throw new BlobError(
      'blob_store_full',
      `the disk of ${this.place} has ${freeBytes} bytes left, and ${wantedBytes} must stay free (MIN_FREE_DISK_BYTES): make room`,
    );
  }

  /** Runs `write` with a new temporary file, which is removed afterwards. */
  async #withTemporary<T>(write: (file: FileHandle, temporary: string) => Promise<T>): Promise<T> {
    const temporary = path.join(temporaryFolder(this.#root), temporaryName());
    const file = await this.#on(open(temporary, 'wx', FILE_MODE));
    try {
      return await write(file, temporary);
    } finally {
      await file.close().catch(() => {});
      // After a rename nothing is left to remove. A failure is left to `sweep`; the first error is the one to report.
      await unlink(temporary).catch(() => {});
    }
  }

  /** Gives the temporary file its final name by calling `name`; creates the folder where it is missing. */
  async #place(key: string, target: string, name: () => Promise<void>): Promise<void> {
    const folder = path.dirname(target);
    for (let attempt = 1; ; attempt++) {
      try {
        const made = await this.#makeFolder(folder);
        await name();
        // A new folder is an entry in its parent, which must survive a power cut too.
        const last = made === undefined ? folder : path.dirname(made);
        for (let dir = folder; ; dir = path.dirname(dir)) {
          await syncFolder(dir);
          if (dir === last) return;
        }
      } catch (thrown) {
        if (['ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR'].includes(codeOf(thrown) ?? '')) {
          if (await this.#clashes(target)) throw this.#clash(key);
          // A concurrent delete removed a parent folder; mkdir reports that with any of these codes.
          const isThere = () =>
            this.#assertThere()
              .then(() => true)
              .catch(() => false);
          if (attempt < PLACE_ATTEMPTS && (await isThere())) continue;
        }
        await this.#prune(folder);
        throw await this.#translate(thrown);
      }
    }
  }

  /**
   * Creates a folder and its parents, but not the store's own: where that is missing, its disk is missing too.
   * @returns the uppermost folder that was created
   */
  async #makeFolder(folder: string): Promise<string | undefined> {
    if (folder === this.#root) return undefined;
    try {
      await mkdir(folder, { mode: FOLDER_MODE });
      return folder;
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return undefined;
      if (codeOf(error) !== 'ENOENT' || path.dirname(folder) === this.#root) throw error;
    }
    const above = await this.#makeFolder(path.dirname(folder));
    await ignoring(mkdir(folder, { mode: FOLDER_MODE }), 'EEXIST');
    return above ?? folder;
  }

  /** Whether `target` is a folder, or one of its parents is a file. */
  async #clashes(target: string): Promise<boolean> {
    for (let at = target; at !== this.#root; at = path.dirname(at)) {
      const stats = await this.#on(ignoring(stat(at), 'ENOENT', 'ENOTDIR'));
      if (stats?.isDirectory() === (at === target)) return true;
    }
    return false;
  }

  /** @throws BlobError when a folder is in the way */
  async #isTaken(key: string, target: string): Promise<boolean> {
    const stats = await this.#on(ignoring(stat(target), 'ENOENT', 'ENOTDIR'));
    if (stats?.isDirectory() === true) throw this.#clash(key);
    return stats !== undefined;
  }

  async *#walk(folder: string, prefix: string): AsyncGenerator<string> {
    // Names, and with them keys, are ASCII: the order of UTF-16 units is that of bytes. A folder's name counts with its
    // slash, as it does in S3's order: `a-b`, `a.b`, `a/b`, `a0`.
    const names = (await this.#entries(folder))
      .filter((entry) => isSegment(entry.name) && (entry.isFile() || entry.isDirectory()))
      .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
      .sort((a, b) => (a < b ? -1 : 1));
    for (const name of names) {
      const key = folder + name;
      if (name.endsWith('/')) {
        if (key.startsWith(prefix) || prefix.startsWith(key)) yield* this.#walk(key, prefix);
      } else if (key.startsWith(prefix)) yield key;
    }
  }

  async #entries(folder: string): Promise<Dirent[]> {
    const entries = readdir(path.join(this.#root, folder), { withFileTypes: true });
    // A folder may be deleted during the walk.
    return (await this.#on(ignoring(entries, 'ENOENT', 'ENOTDIR'))) ?? [];
  }

  /** Removes `folder` and its parents as far as they are empty. */
  async #prune(folder: string): Promise<void> {
    for (let dir = folder; dir.startsWith(this.#root + path.sep); dir = path.dirname(dir)) {
      try {
        await rmdir(dir);
      } catch (error) {
        // Gone: a concurrent delete removed it, and its parent may be empty now. With any other error the folder stays.
        if (codeOf(error) !== 'ENOENT') return;
      }
    }
  }

  /** @throws BlobError `blob_store_unavailable` when the folder is not (or no longer) this store's */
  async #assertThere(): Promise<void> {
    try {
      await stat(temporaryFolder(this.#root));
    } catch (error) {
      throw await this.#translate(error);
    }
  }

  async #orNotFound<T>(key: string, call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      const code = codeOf(error);
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw await this.#translate(error);
      await this.#assertThere();
      throw new BlobNotFound(key, this.place);
    }
  }

  /** Awaits a file system call and translates its error. */
  async #on<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw await this.#translate(error);
    }
  }

  #clash(key: string): BlobError {
    return new BlobError(
      'blob_key_invalid',
      `${key} is also the folder of another key, or lies below one, in ${this.place}`,
    );
  }

  async #translate(thrown: unknown): Promise<unknown> {
    if (thrown instanceof BlobError) return thrown;
    const error = toError(thrown);
    const code = codeOf(error);
    if (code === undefined) return error;
    // "ENOSPC: no space left on device, write": the part before the comma is the same for every call.
    const reason = error.message.split(',')[0];
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      const room = code === 'ENOSPC' ? await diskSpace(this.#root) : undefined;
      const noFiles = room?.freeFiles === 0 ? ', no inodes left' : '';
      return new BlobError('blob_store_full', `${this.place} is full (${reason}${noFiles})`, error);
    }
    const why = code === 'ENOENT' ? 'it is missing, or its disk is not mounted' : reason;
    return new BlobError('blob_store_unavailable', `${this.place} cannot be used: ${why}`, error);
  }
}
