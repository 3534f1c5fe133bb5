/** State of a run for a later one that resumes it: `OUT.resume.json`, replaced atomically. */
import { open, readFile, rename, rm } from 'node:fs/promises';
import type { BatchOptions } from '../../client/batches.ts';
import { UsageError } from '../terminal/exit.ts';
import type { InputIdentity } from './input/input.ts';
import type { OutputOptions } from './output/output-options.ts';
import type { ColumnType } from './input/parquet-values.ts';
import type { Place } from './input/places.ts';
import type { ConvertedFormat, ReadingOptions } from './input/reading.ts';

export interface BackfillState {
  v: 1;
  /** Base URL of the API. */
  url: string;
  /** Proves that this URL was sent the user's key before (server.ts); absent without a key. */
  url_proof?: string | undefined;
  options: BatchOptions;
  /** Absent in files of earlier versions. */
  reading?: ReadingOptions | undefined;
  /** Absent in files of earlier versions. */
  output?: OutputOptions | undefined;
  /** Types of the kept columns of a Parquet input, for a Parquet output. */
  types?: Record<string, ColumnType> | undefined;
  /** The run was begun with --force. */
  force?: true;
  /** Null for an input that can be read only once, and for several. */
  input: InputIdentity | null;
  /** Several inputs, in their order. */
  sources?: StoredSource[] | undefined;
  /** Where the lines of each of several inputs begin; known once the upload is complete. */
  places?: Place[] | undefined;
  /** Written before the batch is made, so that a crash in between makes no second one. */
  idempotencyKey: string;
  /** Id of the batch, once known. */
  batch: string | null;
  /** Model revision of the rows in the partial file; set before the first row. */
  revision?: string;
  /** The upload is complete, and the server knows it: the input is no longer needed. */
  uploaded: boolean;
  /** All rows are in the partial file; only the finished output may be missing. */
  finished: ({ rows: number; failed: number } & BatchFacts) | null;
}

/** What of a batch remains known after it, for a run that only has to write its output. */
export interface BatchFacts {
  seconds?: number | undefined;
  model?: { name: string; revision: string | null } | undefined;
}

/** One of several inputs, to notice that it has changed. */
export interface StoredSource {
  name: string;
  size: number;
  version: string;
  /** A format that becomes JSON Lines. */
  format?: ConvertedFormat | undefined;
}

export class StateFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Undefined without a file. @throws UsageError for a file of another format */
  async read(): Promise<BackfillState | undefined> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    let state: Partial<BackfillState> | null = null;
    try {
      state = JSON.parse(text) as Partial<BackfillState> | null;
    } catch {
      // Reported below.
    }
    if (state?.v === 1) return state as BackfillState;
    throw new UsageError(`${this.path} was not written by this version of amulet: start over with --restart`);
  }

  async write(state: BackfillState): Promise<void> {
    const temporary = `${this.path}.new`;
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(`${JSON.stringify(state, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
  }

  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }
}
