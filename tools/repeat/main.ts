/** `npm run test:faults [-- --repeat N] [-- FILE…]`: all fault scenarios, N times over; ends at the first failure. */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  options: { repeat: { type: 'string', default: '1' } },
  allowPositionals: true,
});
const times = Number(values.repeat);
if (!Number.isInteger(times) || times < 1)
  throw new Error(`--repeat ${values.repeat}: must be a whole number`);
const files = positionals.length > 0 ? positionals : ['test/faults'];
const start = Date.now();
for (let i = 1; i <= times; i++) {
  const { status } = spawnSync('vitest', ['run', ...files], { stdio: 'inherit' });
  const minutes = ((Date.now() - start) / 60_000).toFixed(1);
  process.stdout.write(
    `run ${i} of ${times}: ${status === 0 ? 'passed' : 'FAILED'}, ${minutes} min so far\n`,
  );
  if (status !== 0) process.exit(1);
}
