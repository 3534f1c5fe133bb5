/** Builds shell commands that convert a file into one that can be read. Runs in browsers too. */

/** Quotes a word for a POSIX shell. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

export interface SourceFile {
  /** undefined for standard input. */
  name?: string | undefined;
  /** The file is gzipped; its first bytes were unpacked for the check. */
  gzip: boolean;
  /** Likewise with zstd. */
  zstd?: boolean | undefined;
  /** Spells an option of the command, which decodes and converts; undefined elsewhere. */
  commandOption?: ((name: 'encoding' | 'format', value: string) => string) | undefined;
}

const ANY = 'FILE';

/** @param command reads the file named after it, or standard input; with `<` at its end, standard input alone */
export function convert({ name, gzip, zstd = false }: SourceFile, command: string, target: string): string {
  // A name with a leading dash would be taken for an option.
  const file = shellWord((name ?? ANY).replace(/^-/, './-'));
  const to = shellWord(target);
  if (!gzip && !zstd) return `${command} ${file} > ${to}`;
  return `${gzip ? 'gunzip -c' : 'zstd -dc'} ${file} | ${command.replace(/ <$/, '')} > ${to}`;
}

/**
 * Name for the converted file: `reviews.csv.gz`, `utf8` → `reviews.utf8.csv`; `extension` replaces `.csv`. Never the name of the
 * file itself, which a shell would empty before the command reads it.
 */
export function converted({ name = ANY }: SourceFile, mark: string, extension?: string): string {
  const plain = name.replace(/\.(?:gz|zst|zstd)$/i, '');
  const [own = ''] = /\.[a-z0-9]{1,8}$/i.exec(plain) ?? [];
  const stem = own === '' ? plain : plain.slice(0, -own.length);
  const target = `${stem}${mark === '' ? '' : `.${mark}`}${extension ?? own}`;
  return target === name ? `${stem}.converted${extension ?? own}` : target;
}
