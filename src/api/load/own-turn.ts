/** Keeps requests with much work for the event loop apart: several that are ready at once would hold up all others in a row. */

let last: Promise<void> = Promise.resolve();

/** Resolves in the order of the calls, each in a turn of the event loop of its own. */
export function ownTurn(): Promise<void> {
  last = last.then(() => new Promise((resolve) => setImmediate(resolve)));
  return last;
}
