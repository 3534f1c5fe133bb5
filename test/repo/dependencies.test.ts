/** The lock file: licences of shipped packages are permissive, and every install script is allowed or denied by name. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { installedLicence, licenceProblems } from '../../tools/supply-chain/licences.ts';
import { ownPackages, productionPackages } from '../../tools/supply-chain/packages.ts';

const { allowScripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  allowScripts: Record<string, boolean>;
};
const packages = ownPackages();

test('shipped packages have permissive licences', () => {
  const shipped = productionPackages(packages);
  expect(shipped.length).toBeGreaterThan(50);
  expect(licenceProblems(shipped, installedLicence)).toEqual([]);
});

test('every package with an install script is allowed or denied by name', () => {
  const scripted = new Set(packages.filter((locked) => locked.hasInstallScript).map(({ name }) => name));
  expect([...scripted].sort()).toEqual(Object.keys(allowScripts).sort());
  // Only the script that installs the pinned Node may run.
  expect(Object.entries(allowScripts).filter(([, allowed]) => allowed)).toEqual([['node', true]]);
});

test('every package is pinned by its hash', () => {
  const loose = packages.filter(({ integrity }) => integrity === undefined);
  expect(loose.map(({ name }) => name)).toEqual([]);
});
