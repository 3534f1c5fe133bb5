/** Command lines that make a readable file of another one. It runs in browsers, too. */

/** As a POSIX shell takes it back as one word. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

export interface SourceFile {
  /** Undefined: there is none, as for standard input. */
  name?: string | undefined;
  /** What was looked at is what gunzip makes of it. */
  gzip: boolean;
}

const ANY = 'FILE';

/** @param command reads the file that is named behind it, or standard input; behind `<`, standard input alone */
export function convert({ name, gzip }: SourceFile, command: string, target: string): string {
  // A dash would be an option of the command.
  const file = shellWord((name ?? ANY).replace(/^-/, './-'));
  const to = shellWord(target);
  return gzip ? `gunzip -c ${file} | ${command.replace(/ <$/, '')} > ${to}` : `${command} ${file} > ${to}`;
}

/**
 * `reviews.csv.gz`, `utf8` → `reviews.utf8.csv`; with an extension, that one. Never the name of the file itself, which a shell
 * would empty before the command reads it.
 */
export function converted({ name = ANY }: SourceFile, mark: string, extension?: string): string {
  const plain = name.replace(/\.gz$/i, '');
  const [own = ''] = /\.[a-z0-9]{1,8}$/i.exec(plain) ?? [];
  const stem = own === '' ? plain : plain.slice(0, -own.length);
  const target = `${stem}${mark === '' ? '' : `.${mark}`}${extension ?? own}`;
  return target === name ? `${stem}.converted${extension ?? own}` : target;
}
