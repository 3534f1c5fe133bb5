/**
 * A model folder under construction, beside its target. One rename puts the complete folder in place, so that a worker finds the
 * old folder, the new one or none, but never half of one.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { flush } from '../terminal/disk.ts';
import { UsageError } from '../terminal/exit.ts';
import type { Repository } from './hub.ts';

/** Content of manifest.json, against which a worker checks the files (src/worker/inference/model-folder.ts). */
const manifestSchema = z.object({
  revision: z.string(),
  source: z.object({ repository: z.string(), commit: z.string() }).optional(),
  files: z.record(z.string(), z.object({ sha256: z.string(), bytes: z.number() })),
});
export type Manifest = z.infer<typeof manifestSchema>;

const MANIFEST = 'manifest.json';
/** File in the staging folder that names its repository and commit. A folder without it is not ours to change. */
const ORIGIN = 'pull.json';
/** Suffix of the folder that is being replaced. */
const REPLACED = /^\.old-[0-9a-f]{8}$/;
/** Not part of the model: they may change without its weights. */
const DOCUMENTS = /^(README\.md|LICENSE(\.\w+)?|NOTICE)$/;

export class Staging {
  /** Final path of the folder. */
  readonly target: string;
  readonly folder: string;

  constructor(target: string) {
    this.target = path.resolve(target);
    this.folder = `${this.target}.partial`;
  }

  /** Manifest of the folder at the target; undefined without one. */
  present(): Manifest | undefined {
    return read(path.join(this.target, MANIFEST), manifestSchema);
  }

  /** Completes or undoes a replacement, two renames, that a killed process left halfway. */
  async recover(): Promise<void> {
    const [parent, base] = [path.dirname(this.target), path.basename(this.target)];
    for (const name of readdirSync(parent)) {
      if (!name.startsWith(base) || !REPLACED.test(name.slice(base.length))) continue;
      const old = path.join(parent, name);
      if (existsSync(this.target)) await rm(old, { recursive: true });
      else await rename(old, this.target);
    }
  }

  /**
   * Creates the staging folder; keeps files of an earlier run for the same commit.
   * @throws UsageError for an existing folder that is not a staging folder
   */
  begin({ id, commit }: Repository): void {
    const origin = JSON.stringify({ repository: id, commit });
    const file = path.join(this.folder, ORIGIN);
    if (existsSync(file)) {
      if (readFileSync(file, 'utf8') === origin) return;
    } else if (existsSync(this.folder) && readdirSync(this.folder).length > 0) {
      throw new UsageError(`${this.folder} exists and is not from an earlier pull: move it away`);
    }
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
    writeFileSync(file, origin);
  }

  /** Writes the manifest and puts the folder in place. @param hashes SHA-256 of every file, by name */
  async finish({ id, commit }: Repository, hashes: ReadonlyMap<string, string>): Promise<Manifest> {
    this.#removeOthers(hashes);
    const names = [...hashes.keys()].filter((name) => !DOCUMENTS.test(name)).sort();
    const files: Manifest['files'] = {};
    for (const name of names) {
      const { size: bytes } = await stat(path.join(this.folder, name));
      files[name] = { sha256: hashes.get(name) ?? '', bytes };
    }
    const manifest = { revision: revisionOf(files), source: { repository: id, commit }, files };
    writeFileSync(path.join(this.folder, MANIFEST), `${JSON.stringify(manifest, undefined, 2)}\n`);
    await syncAll(this.folder);
    await this.#place();
    return manifest;
  }

  /** Removes files that an earlier run downloaded for another choice of files. */
  #removeOthers(wanted: ReadonlyMap<string, string>): void {
    for (const entry of readdirSync(this.folder, { recursive: true, withFileTypes: true })) {
      const file = path.join(entry.parentPath, entry.name);
      const name = path.relative(this.folder, file).replaceAll(path.sep, '/');
      if (entry.isFile() && name !== ORIGIN && !wanted.has(name)) rmSync(file);
    }
  }

  async #place(): Promise<void> {
    const old = `${this.target}.old-${randomBytes(4).toString('hex')}`;
    const replaced = await rename(this.target, old).then(
      () => true,
      (error: unknown) => {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
        throw error;
      },
    );
    try {
      await rename(this.folder, this.target);
    } catch (error) {
      if (replaced) await rename(old, this.target);
      throw error;
    }
    await rm(path.join(this.target, ORIGIN));
    await flush(path.dirname(this.target));
    if (replaced) await rm(old, { recursive: true, force: true });
  }
}

/** Revision of these files: 12 hex digits, computed as in models/prepare/package_model.py. */
function revisionOf(files: Manifest['files']): string {
  const lines = Object.entries(files).map(([name, { sha256 }]) => `${sha256}  ${name}\n`);
  return createHash('sha256').update(lines.join('')).digest('hex').slice(0, 12);
}

/** Flushes names and files to the disk. */
async function syncAll(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) await syncAll(name);
    else await flush(name);
  }
  await flush(folder);
}

function read<S extends z.ZodType>(file: string, schema: S): z.output<S> | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Creates the parent folder of the target. */
export async function makeParent(target: string): Promise<void> {
  await mkdir(path.dirname(path.resolve(target)), { recursive: true });
}
