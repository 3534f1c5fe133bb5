/** Every file of the repository that a script, manifest or image names exists: no compiler follows these paths when files move. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const NAMED =
  /(?<![\w./-])(?:\.\/)?((?:src|test|tools|bench|deploy|docs|packaging)\/[\w./{},-]+\.(?:ts|js|json|yml|acl|md))\b/g;

/** The paths that a shell makes of `a/{b,c}.ts`. */
function expand(name: string): string[] {
  const [, head, choices, tail] = /^(.*)\{(.*)\}(.*)$/.exec(name) ?? [];
  return choices === undefined ? [name] : choices.split(',').map((choice) => `${head}${choice}${tail}`);
}

test.each(['setup', 'Dockerfile', 'docker-compose.yml', 'package.json', '.ci/run', 'vitest.config.ts'])(
  '%s',
  (file) => {
    const named = [...readFileSync(file, 'utf8').matchAll(NAMED)].flatMap(([, name = '']) => expand(name));
    expect(named.filter((name) => !existsSync(name))).toEqual([]);
  },
);
