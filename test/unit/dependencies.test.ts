/** What the lock file brings in: licences that permit what we do with it, and no script at install time that nobody looked at. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface Locked {
  license?: string;
  dev?: boolean;
  hasInstallScript?: boolean;
  integrity?: string;
}
const lock = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, Locked> };
const { allowScripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  allowScripts: Record<string, boolean>;
};
const packages = Object.entries(lock.packages)
  .filter(([place]) => place !== '')
  .map(([place, locked]) => ({ name: place.slice(place.lastIndexOf('node_modules/') + 13), ...locked }));

/** All of them permit use, change and redistribution under Apache-2.0, as long as their notices stay. */
const PERMISSIVE = [
  'MIT',
  'Apache-2.0',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'Unlicense',
  'BlueOak-1.0.0',
];

test('what is shipped is under permissive licences', () => {
  const shipped = packages.filter(({ dev }) => dev !== true);
  expect(shipped.length).toBeGreaterThan(50);
  const others = shipped.filter(({ license = 'none' }) => {
    const choices = license.replaceAll(/[()]/g, '').split(' OR ');
    return !choices.some((choice) => PERMISSIVE.includes(choice));
  });
  expect(others.map(({ name, license }) => `${name}: ${license}`)).toEqual([]);
});

test('every package with a script at install time is allowed or denied by name', () => {
  const scripted = packages.filter(({ hasInstallScript }) => hasInstallScript === true);
  const undecided = scripted.filter(({ name }) => !(name in allowScripts));
  expect(undecided.map(({ name }) => name)).toEqual([]);
  // Nothing may run on installing but what puts the pinned Node there.
  expect(Object.entries(allowScripts).filter(([, allowed]) => allowed)).toEqual([['node', true]]);
});

test('every package is pinned by its hash', () => {
  const loose = packages.filter(({ integrity }) => integrity === undefined);
  expect(loose.map(({ name }) => name)).toEqual([]);
});
