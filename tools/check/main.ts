/** `npm run check`: ESLint, Prettier and the TypeScript compiler, two at a time; prints what those that fail have to say. */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';

/** The longest first. */
const COMMANDS = [
  'eslint .',
  'tsc -p .',
  'prettier --check --log-level warn .',
  'tsc -p src/api/pages/client',
  'tsc -p src/client',
];

function run(command: string): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn(command, { shell: true, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.once('close', (status) => {
      if (status !== 0) process.exitCode = 1;
      process.stdout.write(`${command}: ${status === 0 ? 'passed' : `failed\n${output}`}\n`);
      resolve();
    });
  });
}

async function work(): Promise<void> {
  for (let next = COMMANDS.shift(); next !== undefined; next = COMMANDS.shift()) await run(next);
}

await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, work));
