/** Size of a scenario: its full rounds and rows, or with `--quick` only enough to see that it works. */

const QUICK_ROUNDS = 2;
/** Share of the rows. */
const QUICK_ROWS = 1 / 20;

let quick = false;

export function useQuick(): void {
  quick = true;
}

export const isQuick = (): boolean => quick;

export const rounds = (all: number): number => (quick ? Math.min(all, QUICK_ROUNDS) : all);

export const rows = (all: number): number => (quick ? Math.ceil(all * QUICK_ROWS) : all);
