/** Violations of what must always hold: collected, not thrown, so that a soak continues and reports all of them. */
export class Violations {
  readonly #counts = new Map<string, { count: number; example: string }>();

  add(kind: string, example: string): void {
    const known = this.#counts.get(kind);
    if (known) known.count++;
    else this.#counts.set(kind, { count: 1, example });
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, { count }) => sum + count, 0);
  }

  lines(): string[] {
    return [...this.#counts].map(([kind, { count, example }]) => `${kind}: ${count}, for example ${example}`);
  }
}
