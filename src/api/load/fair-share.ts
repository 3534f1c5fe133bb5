/**
 * A bound on what all requests of this process hold together, be it bytes or uploads, which no owner can use up alone.
 *
 * An owner may hold at most as much as then is free: half of it alone, a third beside another one that takes all it may.
 * So something is free for the next owner, however many came before. A fixed share each would be too much for many owners
 * and too little for one. Without API keys everybody is the same owner, who may have all of it.
 */
import type { AppError } from '../../shared/contract/problems.ts';
import { EVERYBODY } from '../../shared/contract/owner.ts';

/** What one request holds; to be released when it is done with, however it ends. */
export interface Held {
  /** Holds so much more. @throws AppError when that is more than there is, or than the owner may have */
  take(amount: number): void;
  /** Gives back everything; a second time does nothing. */
  release(): void;
}

export class FairShare {
  readonly #limit: number;
  readonly #full: (own: boolean) => AppError;
  readonly #held = new Map<string, number>();
  #total = 0;

  /** @param full says what to answer when there is no room: none that this owner may have (`own`), or none at all */
  constructor(limit: number, full: (own: boolean) => AppError) {
    this.#limit = limit;
    this.#full = full;
  }

  /** What is held now. */
  get total(): number {
    return this.#total;
  }

  /**
   * @param amount to begin with
   * @throws AppError when that is more than there is, or than the owner may have
   */
  hold(owner: string, amount = 0): Held {
    let held = 0;
    const take = (more: number) => {
      this.#take(owner, more);
      held += more;
    };
    take(amount);
    return {
      take,
      release: () => {
        this.#release(owner, held);
        held = 0;
      },
    };
  }

  #take(owner: string, amount: number): void {
    const free = this.#limit - this.#total;
    const held = (this.#held.get(owner) ?? 0) + amount;
    if (amount > free) throw this.#full(false);
    if (held > free && owner !== EVERYBODY) throw this.#full(true);
    this.#held.set(owner, held);
    this.#total += amount;
  }

  #release(owner: string, amount: number): void {
    const held = (this.#held.get(owner) ?? 0) - amount;
    if (held > 0) this.#held.set(owner, held);
    else this.#held.delete(owner);
    this.#total -= amount;
  }
}
