/** What a run leaves for the next one: `OUT.resume.json`. Written whole or not at all. */
import { open, readFile, rename, rm } from 'node:fs/promises';
import type { BatchOptions } from '../../client/batches.ts';
import { UsageError } from '../terminal/exit.ts';
import type { InputIdentity } from './input.ts';

export interface BackfillState {
  v: 1;
  /** Base URL of the API. */
  url: string;
  /** Shows that this URL had the user's key before (server.ts); left out without one. */
  url_proof?: string | undefined;
  options: BatchOptions;
  /** Null for what can be read only once. */
  input: InputIdentity | null;
  /** Goes before the batch, so that a crash in between makes no second one. */
  idempotencyKey: string;
  /** Its id, once it is known. */
  batch: string | null;
  /** Weights that the rows in the partial file are of, as soon as there may be some. */
  revision?: string;
  /** All parts are there and the server knows it: the input is needed no more. */
  uploaded: boolean;
  /** All rows are in the partial file; only the renaming may be missing. */
  finished: { rows: number; failed: number } | null;
}

export class StateFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Undefined when there is none. @throws UsageError when it is not to be understood */
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
      // Said below.
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
