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
}

const ANY = 'FILE';

/** @param command reads the file named after it, or standard input; with `<` at its end, standard input alone */
export function convert({ name, gzip }: SourceFile, command: string, target: string): string {
  // A name with a leading dash would be taken for an option.
  const file = shellWord((name ?? ANY).replace(/^-/, './-'));
  const to = shellWord(target);
  return gzip ? `gunzip -c ${file} | ${command.replace(/ <$/, '')} > ${to}` : `${command} ${file} > ${to}`;
}

/**
 * Name for the converted file: `reviews.csv.gz`, `utf8` → `reviews.utf8.csv`; `extension` replaces `.csv`. Never the name of the
 * file itself, which a shell would empty before the command reads it.
 */
export function converted({ name = ANY }: SourceFile, mark: string, extension?: string): string {
  const plain = name.replace(/\.gz$/i, '');
  const [own = ''] = /\.[a-z0-9]{1,8}$/i.exec(plain) ?? [];
  const stem = own === '' ? plain : plain.slice(0, -own.length);
  const target = `${stem}${mark === '' ? '' : `.${mark}`}${extension ?? own}`;
  return target === name ? `${stem}.converted${extension ?? own}` : target;
}
