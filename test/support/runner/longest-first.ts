/**
 * Order of the test files in a run: the longest first, so that no core is idle while the last one ends. Write their times anew with
 * write-seconds.ts when they have changed.
 */
import { statSync } from 'node:fs';
import path from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import seconds from './seconds.json' with { type: 'json' };

/** Files that are not listed are ordered by size, after those that are. */
const SECONDS: Readonly<Record<string, number>> = seconds;
const BYTES_PER_SECOND = 1_000_000;

export class LongestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return Promise.resolve(
      files
        .map((file) => ({ file, rank: rank(file) }))
        .sort((a, b) => b.rank - a.rank)
        .map(({ file }) => file),
    );
  }
}

function rank({ moduleId, project }: TestSpecification): number {
  const name = path.relative(project.config.root, moduleId);
  return SECONDS[name] ?? statSync(moduleId).size / BYTES_PER_SECOND;
}
