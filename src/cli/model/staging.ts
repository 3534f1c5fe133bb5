/**
 * A model folder in the making. It lies beside its place and takes it with one rename when it is whole, so that a worker
 * finds the old one, the new one or none, but never half of one.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { Repository } from './hub.ts';

/** What is written into manifest.json, which a worker checks the files against (src/worker/inference/model-folder.ts). */
const manifestSchema = z.object({
  revision: z.string(),
  source: z.object({ repository: z.string(), commit: z.string() }).optional(),
  files: z.record(z.string(), z.object({ sha256: z.string(), bytes: z.number() })),
});
export type Manifest = z.infer<typeof manifestSchema>;

const MANIFEST = 'manifest.json';
/** In the staging folder: what it is of. */
const ORIGIN = 'pull.json';
/** No part of the model: they may change without its weights. */
const DOCUMENTS = /^(README\.md|LICENSE(\.\w+)?|NOTICE)$/;

export class Staging {
  /** Where it goes in the end. */
  readonly target: string;
  readonly folder: string;

  constructor(target: string) {
    this.target = path.resolve(target);
    this.folder = `${this.target}.partial`;
  }

  /** The manifest of what is at the target; undefined when it has none. */
  present(): Manifest | undefined {
    return read(path.join(this.target, MANIFEST), manifestSchema);
  }

  /** Keeps what an earlier run has begun of the same commit. */
  begin({ id, commit }: Repository): void {
    const origin = JSON.stringify({ repository: id, commit });
    const file = path.join(this.folder, ORIGIN);
    if (read(file, z.unknown()) !== undefined && readFileSync(file, 'utf8') === origin) return;
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
    writeFileSync(file, origin);
  }

  /** Writes the manifest and puts the folder into its place. @param hashes SHA-256 of every file, by name */
  async finish({ id, commit }: Repository, hashes: ReadonlyMap<string, string>): Promise<Manifest> {
    await rm(path.join(this.folder, ORIGIN));
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
    await sync(path.dirname(this.target));
    if (replaced) await rm(old, { recursive: true, force: true });
  }
}

/** Names these files, whatever they are called elsewhere: 12 hex digits, as models/prepare/package_model.py makes them. */
function revisionOf(files: Manifest['files']): string {
  const lines = Object.entries(files).map(([name, { sha256 }]) => `${sha256}  ${name}\n`);
  return createHash('sha256').update(lines.join('')).digest('hex').slice(0, 12);
}

/** Puts names and files on the disk, not just into its cache. */
async function syncAll(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) await syncAll(name);
    else await sync(name);
  }
  await sync(folder);
}

async function sync(name: string): Promise<void> {
  const handle = await open(name, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function read<S extends z.ZodType>(file: string, schema: S): z.output<S> | undefined {
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

/** Makes the folder that the target is to lie in. */
export async function makeParent(target: string): Promise<void> {
  await mkdir(path.dirname(path.resolve(target)), { recursive: true });
}
