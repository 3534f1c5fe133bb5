/** The requests of this page as curl commands, for a POSIX shell. */
import { shellWord } from '../../../shared/bulk/convert.ts';
import type { BatchInput } from './batch-input.ts';

export class Curl {
  readonly #base: string;
  readonly #needsKey: boolean;

  /**
   * @param base URL of the API
   * @param needsKey whether the API requires a key: the command reads it from the environment, so that no screen or history shows it
   */
  constructor(base: string, { needsKey }: { needsKey: boolean }) {
    this.#base = base.replace(/\/$/, '');
    this.#needsKey = needsKey;
  }

  createJob(body: object): string {
    return this.#line('/v1/jobs', '-H', 'Content-Type: application/json', '-d', JSON.stringify(body));
  }

  read(path: string): string {
    return this.#line(path);
  }

  cancel(path: string): string {
    return this.#line(path, '-X', 'DELETE');
  }

  /** `-T` streams the file; `--data-binary` would hold all of it in memory. */
  createBatch({ path, headers }: BatchInput, file: string): string {
    const named = file.startsWith('-') ? `./${file}` : file;
    // Without -g, curl expands braces and brackets in a file name.
    const plain = /[[\]{}]/.test(file) ? ['-g'] : [];
    const fields = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
    return this.#line(path, '-X', 'POST', ...plain, ...fields, '-T', named);
  }

  download(path: string, file: string): string {
    return this.#line(path, '-f', '-o', file);
  }

  #line(path: string, ...words: string[]): string {
    const key = this.#needsKey ? ['-H "Authorization: Bearer $AMULET_API_KEY"'] : [];
    return ['curl -s', shellWord(this.#base + path), ...key, ...words.map(shellWord)].join(' ');
  }
}
