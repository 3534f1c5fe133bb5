/**
 * `npm run supply-chain`: known vulnerabilities, licences, and a bill of materials of what production installs. Exit status 1 when
 * anything is wrong. Install scripts and hashes are checked by test/repo/dependencies.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readAudit } from './audit.ts';
import { installedLicence, licenceProblems, licenceTable } from './licences.ts';
import { ownPackages, productionPackages } from './packages.ts';
import { missingFrom, onlyProduction, type Sbom } from './sbom.ts';

const LICENCES = '.amulet/licences.md';
const SBOM = '.amulet/sbom.cdx.json';
/** The document has a few KB for each package. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

const say = (line: string) => process.stdout.write(`supply chain: ${line}\n`);
const problems: string[] = [];
const packages = productionPackages(ownPackages());
mkdirSync('.amulet', { recursive: true });

const audit = readAudit(npm('audit', '--omit=dev', '--json').stdout);
if ('skipped' in audit) say(`skipped: npm audit (the registry answers no audit: ${audit.skipped})`);
else say(`npm audit: ${audit.total} known, ${audit.serious.length} of them high or critical`);
if ('serious' in audit) problems.push(...audit.serious);

const others = licenceProblems(packages, installedLicence);
writeFileSync(LICENCES, licenceTable(packages));
say(`licences: ${packages.length} packages, ${others.length} not permissive; ${LICENCES}`);
problems.push(...others);

// From the lock file: also what other platforms install.
const { status, stdout, stderr } = npm('sbom', '--package-lock-only', '--sbom-format=cyclonedx');
if (status === 0) {
  const sbom = onlyProduction(JSON.parse(stdout) as Sbom, packages);
  writeFileSync(SBOM, `${JSON.stringify(sbom, undefined, 2)}\n`);
  const missing = missingFrom(sbom, packages);
  say(`bill of materials: ${sbom.components.length} components, ${missing.length} missing; ${SBOM}`);
  problems.push(...missing.map((each) => `${each}: not in ${SBOM}`));
} else problems.push(`npm sbom: ${stderr.trim()}`);

for (const problem of problems) say(`FAILED: ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);

function npm(...args: string[]) {
  const { error, ...result } = spawnSync('npm', args, { encoding: 'utf8', maxBuffer: MAX_OUTPUT_BYTES });
  if (error) throw error;
  return result;
}
