/** The tools print their usage, not a stack trace: for `--help`, and for arguments that they cannot use. */
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

const run = (tool: string, args: readonly string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    `tools/${tool}/main.ts`,
    ...args,
  ]);
  return { status, stdout: stdout.toString(), stderr: stderr.toString() };
};

const REPEAT = 'usage: npm run test:faults -- [--repeat N] [FILE…]\n';
const SOAK = 'usage: npm run soak -- [--minutes 5] [--seed N] [--report FILE]\n';

test.each([
  ['repeat', '--help', REPEAT],
  ['soak', '-h', SOAK],
])('%s %s', (tool, option, usage) => {
  expect(run(tool, [option])).toEqual({ status: 0, stdout: usage, stderr: '' });
});

test.each([
  ['repeat', ['--times', '3'], /^Unknown option '--times'/, REPEAT],
  ['repeat', ['--repeat', '0'], /^--repeat 0: must be a whole number\n/, REPEAT],
  ['soak', ['--minutes', 'x'], /^--minutes x: must be a number above 0\n/, SOAK],
])('%s %j', (tool, args, problem, usage) => {
  const { status, stderr } = run(tool, args);
  expect(status).toBe(2);
  expect(stderr).toMatch(problem);
  expect(stderr).not.toMatch(/\n {4}at /);
  expect(stderr.endsWith(usage)).toBe(true);
});
