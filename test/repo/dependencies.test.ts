/** What the lock file brings in: licences that permit what we do with it, and no script at install time that nobody looked at. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { installedLicence, licenceProblems } from '../../tools/supply-chain/licences.ts';
import { ownPackages, productionPackages } from '../../tools/supply-chain/packages.ts';

const { allowScripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  allowScripts: Record<string, boolean>;
};
const packages = ownPackages();

test('what is shipped is under permissive licences', () => {
  const shipped = productionPackages(packages);
  expect(shipped.length).toBeGreaterThan(50);
  expect(licenceProblems(shipped, installedLicence)).toEqual([]);
});

test('every package with a script at install time is allowed or denied by name', () => {
  const scripted = new Set(packages.filter((locked) => locked.hasInstallScript).map(({ name }) => name));
  expect([...scripted].sort()).toEqual(Object.keys(allowScripts).sort());
  // Nothing may run on installing but what puts the pinned Node there.
  expect(Object.entries(allowScripts).filter(([, allowed]) => allowed)).toEqual([['node', true]]);
});

test('every package is pinned by its hash', () => {
  const loose = packages.filter(({ integrity }) => integrity === undefined);
  expect(loose.map(({ name }) => name)).toEqual([]);
});
