/** The pure parts of `npm run supply-chain`. */
import { describe, expect, test } from 'vitest';
import { readAudit } from '../../tools/supply-chain/audit.ts';
import { licenceProblems, licenceTable } from '../../tools/supply-chain/licences.ts';
import { lockedPackages, productionPackages, type LockedPackage } from '../../tools/supply-chain/packages.ts';
import { missingFrom, onlyProduction } from '../../tools/supply-chain/sbom.ts';
import { permits } from '../../tools/supply-chain/spdx.ts';

describe('a licence expression', () => {
  const allowed = new Set(['MIT', 'Apache-2.0']);
  test.each([
    ['MIT', true],
    ['GPL-3.0-only', false],
    ['(MIT OR GPL-3.0-only)', true],
    ['GPL-3.0-only OR MIT', true],
    ['MIT AND Apache-2.0', true],
    ['MIT AND GPL-3.0-only', false],
    // AND binds closer.
    ['MIT OR Apache-2.0 AND GPL-3.0-only', true],
    ['(MIT OR Apache-2.0) AND GPL-3.0-only', false],
    ['GPL-3.0-only AND (MIT OR Apache-2.0)', false],
    ['((MIT))', true],
    ['Apache-2.0 WITH LLVM-exception', true],
    ['GPL-2.0-only WITH Classpath-exception-2.0', false],
    // GPL-3.0+ is another licence than MIT, and MIT+ is none.
    ['MIT+', false],
    ['mit', false],
  ])('%s: %s', (expression, expected) => {
    expect(permits(expression, allowed)).toBe(expected);
  });
  test.each([
    '',
    ' ',
    'MIT OR',
    'OR MIT',
    'MIT Apache-2.0',
    '(MIT',
    'MIT)',
    '()',
    'MIT WITH',
    'MIT OR (',
    'SEE LICENSE IN MIT',
    'MIT; Apache-2.0',
    'none',
  ])('%j permits nothing', (expression) => {
    expect(permits(expression, allowed)).toBe(false);
  });
});

const locked = (name: string, changes: Partial<LockedPackage> = {}): LockedPackage => ({
  name,
  version: '1.0.0',
  place: `node_modules/${name}`,
  license: 'MIT',
  dev: false,
  hasInstallScript: false,
  integrity: 'sha512-x',
  ...changes,
});

test('packages are read from a lock file: nested, scoped and renamed ones, and which are for development only', () => {
  const json = JSON.stringify({
    packages: {
      '': { name: 'the-project' },
      'node_modules/@s/a': { version: '1.0.0', license: 'MIT', integrity: 'sha512-x' },
      'node_modules/@s/a/node_modules/b': { version: '2.0.0', dev: true, hasInstallScript: true },
      'node_modules/alias': { name: 'real', version: '3.0.0', devOptional: true },
    },
  });
  const all = lockedPackages(json);
  expect(all[0]).toEqual(locked('@s/a'));
  expect(all[1]).toMatchObject({ name: 'b', dev: true, hasInstallScript: true });
  expect(productionPackages(all).map(({ name }) => name)).toEqual(['@s/a', 'real']);
});

describe('licences', () => {
  test('that are not permissive, or not stated, are named with their package', () => {
    const packages = [
      locked('fine'),
      locked('copyleft', { license: 'AGPL-3.0-only' }),
      locked('silent', { license: undefined }),
    ];
    expect(licenceProblems(packages, () => undefined)).toEqual([
      'copyleft@1.0.0: AGPL-3.0-only',
      'silent@1.0.0: none',
    ]);
  });
  test('that are others where the package is installed are named', () => {
    expect(
      licenceProblems([locked('a'), locked('b')], (place) => (place.endsWith('a') ? 'MIT' : 'X')),
    ).toEqual(['b@1.0.0: MIT in package-lock.json, X where it is installed']);
  });
  test('are a table by name, each version once', () => {
    const twice = locked('a', { place: 'node_modules/b/node_modules/a' });
    expect(licenceTable([locked('b'), locked('a'), twice])).toBe(
      '| package | licence |\n|---|---|\n| a@1.0.0 | MIT |\n| b@1.0.0 | MIT |\n',
    );
  });
});

describe('the bill of materials', () => {
  const component = (name: string, version = '1.0.0') => ({
    'bom-ref': `${name}@${version}`,
    name,
    version,
  });
  const sbom = {
    specVersion: '1.5',
    components: [component('@s/a'), component('tool'), component('b', '2.0.0')],
    dependencies: [
      { ref: 'root', dependsOn: ['@s/a@1.0.0', 'tool@1.0.0'] },
      { ref: 'tool@1.0.0', dependsOn: ['b@2.0.0'] },
      { ref: 'b@2.0.0' },
    ],
  };
  const packages = [locked('@s/a'), locked('b', { version: '2.0.0' })];

  test('has what production installs, and what depends on it', () => {
    expect(onlyProduction(sbom, packages)).toEqual({
      specVersion: '1.5',
      components: [component('@s/a'), component('b', '2.0.0')],
      dependencies: [
        { ref: 'root', dependsOn: ['@s/a@1.0.0'] },
        { ref: 'b@2.0.0', dependsOn: [] },
      ],
    });
  });
  test('without a package, or with another version of it, is not complete', () => {
    expect(missingFrom(sbom, packages)).toEqual([]);
    expect(missingFrom(sbom, [locked('c'), locked('b', { version: '2.0.1' })])).toEqual([
      'c@1.0.0',
      'b@2.0.1',
    ]);
  });
});

describe('the report of npm audit', () => {
  const report = (vulnerabilities: Record<string, { severity: string; range: string }>) =>
    JSON.stringify({
      auditReportVersion: 2,
      vulnerabilities,
      metadata: { vulnerabilities: { total: Object.keys(vulnerabilities).length } },
    });

  test('nothing known', () => {
    expect(readAudit(report({}))).toEqual({ serious: [], total: 0 });
  });
  test('only what is high or critical is serious', () => {
    const found = readAudit(
      report({
        a: { severity: 'low', range: '*' },
        b: { severity: 'moderate', range: '*' },
        c: { severity: 'high', range: '<2.0.0' },
        d: { severity: 'critical', range: '1.0.0' },
      }),
    );
    expect(found).toEqual({ serious: ['c <2.0.0: high', 'd 1.0.0: critical'], total: 4 });
  });
  test.each([
    [
      '{"message":"405 Method Not Allowed - POST https://registry.example/-/npm/v1/security/advisories/bulk","error":{"summary":"","detail":""}}',
      '405 Method Not Allowed',
    ],
    ['{"error":{"code":"ENOTFOUND","summary":"","detail":""}}', 'ENOTFOUND'],
    ['{"message":"request to https://registry.example/x failed","error":{}}', 'request to failed'],
    ['', 'no report'],
    ['<html>', 'no report'],
  ])('no answer: %j', (output, skipped) => {
    expect(readAudit(output)).toEqual({ skipped });
  });
});
