/** Every source file says in its first line what it is for: CONTRIBUTING.md sends readers there. */
import { globSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const COMMENT = { '.ts': /^\/\*\*/, '.js': /^(#!.*\n)?\/\*\*/, '.lua': /^--/ };

test.each(Object.entries(COMMENT))('sources ending in %s begin with a comment', (extension, comment) => {
  const files = globSync(`src/**/*${extension}`);
  expect(files.length).toBeGreaterThan(0);
  expect(files.filter((file) => !comment.test(readFileSync(file, 'utf8')))).toEqual([]);
});
