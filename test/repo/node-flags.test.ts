/** Scripts and image start processes with the flags that `npm start` gives to its own. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { NODE_FLAGS } from '../../src/shared/runtime/node-flags.ts';

const FLAGS = NODE_FLAGS.join(' ');

test('scripts that start processes', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  const starts = Object.entries(scripts).filter(([name]) => name === 'dev' || name.startsWith('start'));
  expect(starts).toHaveLength(5);
  for (const [, script] of starts) expect(script).toContain(`exec node ${FLAGS} `);
});

test('the image', () => expect(readFileSync('Dockerfile', 'utf8')).toContain(`NODE_OPTIONS="${FLAGS}"`));
