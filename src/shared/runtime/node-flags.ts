/** Flags of Node for the processes of `npm start` and of `amulet model check`; package.json and the Dockerfile have the same. */

/**
 * A young generation of 8 MB halves instead of 16 takes some 35 MB less of API and worker each; what it costs in CPU is within the
 * noise (docs/benchmarks.md). With 4 MB a request costs a quarter more, because collections find more objects alive.
 */
export const NODE_FLAGS: readonly string[] = [
  // Running TypeScript is experimental, says Node on standard error.
  '--disable-warning=ExperimentalWarning',
  '--max-semi-space-size=8',
];
