/**
 * Number of fuzzed inputs: few in the normal suite, many in `npm run test:fuzz` (FUZZ_RUNS). A failure prints the seed and the
 * shrunk input; FUZZ_SEED repeats it.
 */
const FACTOR = Number(process.env.FUZZ_RUNS ?? 1);
const SEED = process.env.FUZZ_SEED;

/** Parameters for fc.assert. @param numRuns in the normal suite */
export function fuzz(numRuns: number): { numRuns: number; seed?: number } {
  return { numRuns: Math.ceil(numRuns * FACTOR), ...(SEED === undefined ? {} : { seed: Number(SEED) }) };
}
