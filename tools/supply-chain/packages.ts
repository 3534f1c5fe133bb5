/** Packages listed in package-lock.json. */
import { readFileSync } from 'node:fs';

export interface LockedPackage {
  name: string;
  version: string;
  /** Folder that it is installed in, such as `node_modules/a/node_modules/b`. */
  place: string;
  /** SPDX expression, as its package.json has it. */
  license: string | undefined;
  /** Needed to build and test only: `npm ci --omit=dev` leaves it out. */
  dev: boolean;
  hasInstallScript: boolean;
  /** Hash of its archive. */
  integrity: string | undefined;
}

const FOLDER = 'node_modules/';

/** @param json content of a package-lock.json */
export function lockedPackages(json: string): LockedPackage[] {
  const { packages } = JSON.parse(json) as { packages: Record<string, Partial<LockedPackage>> };
  return Object.entries(packages)
    .filter(([place]) => place !== '')
    .map(([place, { name, version = '', license, dev, hasInstallScript, integrity }]) => ({
      // One that is installed under another name says its own.
      name: name ?? place.slice(place.lastIndexOf(FOLDER) + FOLDER.length),
      version,
      place,
      license,
      dev: dev === true,
      hasInstallScript: hasInstallScript === true,
      integrity,
    }));
}

/** Every package that this project installs, tests included. */
export function ownPackages(): LockedPackage[] {
  return lockedPackages(readFileSync('package-lock.json', 'utf8'));
}

/** Those that a production install has, on whatever platform. */
export function productionPackages(all: readonly LockedPackage[]): LockedPackage[] {
  return all.filter(({ dev }) => !dev);
}

/** `name@version`. */
export const label = ({ name, version }: Pick<LockedPackage, 'name' | 'version'>): string =>
  `${name}@${version}`;
