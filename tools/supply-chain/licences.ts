/** Licences of the packages that production installs. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { label, type LockedPackage } from './packages.ts';
import { permits } from './spdx.ts';

/** All of them permit use, change and redistribution under Apache-2.0, as long as their notices stay. */
export const PERMISSIVE: ReadonlySet<string> = new Set([
  'MIT',
  'Apache-2.0',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'Unlicense',
  'BlueOak-1.0.0',
]);

/**
 * Problems, a line each.
 * @param installed licence in the package.json of what really lies in a place; undefined: nothing does
 */
export function licenceProblems(
  packages: readonly LockedPackage[],
  installed: (place: string) => string | undefined,
): string[] {
  return packages.flatMap((locked) => {
    const { license = 'none', place } = locked;
    if (!permits(license, PERMISSIVE)) return [`${label(locked)}: ${license}`];
    // The lock file only repeats what a package.json said when it was written.
    const actual = installed(place);
    return actual === undefined || actual === license
      ? []
      : [`${label(locked)}: ${license} in package-lock.json, ${actual} where it is installed`];
  });
}

/** The licence that a package in node_modules states; undefined when it is not installed, as for other platforms. */
export function installedLicence(place: string): string | undefined {
  const file = path.join(place, 'package.json');
  if (!existsSync(file)) return undefined;
  const { license } = JSON.parse(readFileSync(file, 'utf8')) as { license?: unknown };
  return typeof license === 'string' ? license : 'none';
}

/** A Markdown table, by name. */
export function licenceTable(packages: readonly LockedPackage[]): string {
  const rows = [...new Set(packages.map((locked) => `| ${label(locked)} | ${locked.license ?? 'none'} |`))];
  return ['| package | licence |', '|---|---|', ...rows.sort(), ''].join('\n');
}
