/** `npm run test:faults [-- --repeat N] [-- FILE…]`: runs all fault scenarios N times; ends at the first failure. */
import { spawnSync } from 'node:child_process';
import { exitWithUsage, readArguments } from '../arguments.ts';

const USAGE = 'usage: npm run test:faults -- [--repeat N] [FILE…]';

const { values, positionals } = readArguments(USAGE, {
  options: { repeat: { type: 'string', default: '1' } },
  allowPositionals: true,
});
const times = Number(values.repeat);
if (!Number.isInteger(times) || times < 1)
  exitWithUsage(USAGE, `--repeat ${values.repeat}: must be a whole number`);
const start = Date.now();
for (let i = 1; i <= times; i++) {
  const { status } = spawnSync('vitest', ['run', '--project', 'faults', ...positionals], {
    stdio: 'inherit',
  });
  const minutes = ((Date.now() - start) / 60_000).toFixed(1);
  process.stdout.write(
    `run ${i} of ${times}: ${status === 0 ? 'passed' : 'FAILED'}, ${minutes} min so far\n`,
  );
  if (status !== 0) process.exit(1);
}
