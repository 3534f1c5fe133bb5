/** Follows imports: the files and packages that a module needs. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

export interface Reach {
  /** Paths of files. */
  files: Set<string>;
  /** Names of packages, and of modules of Node as `node:…`. */
  packages: Set<string>;
}

/** Follows every import, dynamic ones too, from the entries on. @param entries paths of modules or declarations */
export function reach(entries: readonly string[]): Reach {
  const files = new Set(entries);
  const packages = new Set<string>();
  // Iteration over a Set includes entries added meanwhile.
  for (const file of files) {
    for (const { fileName } of ts.preProcessFile(readFileSync(file, 'utf8')).importedFiles) {
      if (fileName.startsWith('.')) files.add(target(file, fileName));
      else packages.add(fileName.startsWith('node:') ? fileName : packageName(fileName));
    }
  }
  return { files, packages };
}

/** The imported file; from a declaration, the imported declaration. */
function target(from: string, relative: string): string {
  const file = path.resolve(path.dirname(from), relative);
  return from.endsWith('.d.ts') ? file.replace(/\.js$/, '.d.ts') : file;
}

const packageName = (specifier: string): string => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier;
