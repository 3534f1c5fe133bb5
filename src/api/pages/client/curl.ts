/** The requests of this page as command lines, for a POSIX shell. */
import { shellWord } from '../../../shared/bulk/convert.ts';
import type { BatchInput } from './batch-input.ts';

export class Curl {
  readonly #base: string;
  readonly #key: boolean;

  /**
   * @param base URL of the API
   * @param key whether it wants one. It is read from the environment, so that it is on no screen and in no history
   */
  constructor(base: string, key: boolean) {
    this.#base = base.replace(/\/$/, '');
    this.#key = key;
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

  /** `-T` sends the file as it reads it; `--data-binary` would hold all of it in memory. */
  createBatch({ path, headers }: BatchInput, file: string): string {
    const named = file.startsWith('-') ? `./${file}` : file;
    // Braces and brackets in a name are a pattern to curl, unless it is told.
    const plain = /[[\]{}]/.test(file) ? ['-g'] : [];
    const fields = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
    return this.#line(path, '-X', 'POST', ...plain, ...fields, '-T', named);
  }

  download(path: string, file: string): string {
    return this.#line(path, '-f', '-o', file);
  }

  #line(path: string, ...words: string[]): string {
    const key = this.#key ? ['-H "Authorization: Bearer $AMULET_API_KEY"'] : [];
    return ['curl -s', shellWord(this.#base + path), ...key, ...words.map(shellWord)].join(' ');
  }
}
