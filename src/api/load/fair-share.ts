/**
 * Fair share: limits what all requests of this process hold together (bytes or uploads), and keeps one owner from using all of it.
 *
 * An owner may hold at most as much as is then still free: half of the limit alone, a third beside another owner who takes all
 * that is allowed. So the next owner always finds something free. A fixed share per owner would be too much with many owners and
 * too little with one. Without API keys all callers are one owner, who may hold everything.
 */
import type { AppError } from '../../shared/contract/problems.ts';
import { EVERYBODY } from '../../shared/contract/owner.ts';

/** The amount that one request holds; must be released when the request ends, however it ends. */
export interface Lease {
  /** Holds `amount` more. @throws AppError when less is free, or when the owner may not hold that much */
  add(amount: number): void;
  /** Gives back everything; a second call does nothing. */
  release(): void;
}

/** Whose limit was reached: that of one owner, or that of the whole process. */
export type ReachedLimit = 'owner' | 'process';

export class FairShare {
  readonly #limit: number;
  readonly #toError: (reached: ReachedLimit) => AppError;
  readonly #held = new Map<string, number>();
  #total = 0;

  /** @param toError makes the error for a refused amount */
  constructor(limit: number, toError: (reached: ReachedLimit) => AppError) {
    this.#limit = limit;
    this.#toError = toError;
  }

  /** The amount that all requests hold now. */
  get total(): number {
    return this.#total;
  }

  /**
   * @param amount held from the start
   * @throws AppError when less is free, or when the owner may not hold that much
   */
  acquire(owner: string, amount = 0): Lease {
    let held = 0;
    const add = (more: number) => {
      this.#take(owner, more);
      held += more;
    };
    add(amount);
    return {
      add,
      release: () => {
        this.#release(owner, held);
        held = 0;
      },
    };
  }

  #take(owner: string, amount: number): void {
    const free = this.#limit - this.#total;
    const held = (this.#held.get(owner) ?? 0) + amount;
    if (amount > free) throw this.#toError('process');
    if (held > free && owner !== EVERYBODY) throw this.#toError('owner');
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
