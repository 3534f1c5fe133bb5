/** Spreads large pieces of work over turns of the event loop: several in one turn would block all other requests meanwhile. */

let last: Promise<void> = Promise.resolve();

/** Resolves in the order of the calls, each call in a separate turn of the event loop. */
export function ownTurn(): Promise<void> {
  last = last.then(() => new Promise((resolve) => setImmediate(resolve)));
  return last;
}
