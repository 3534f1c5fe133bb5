/** How long one slice may hold the event loop. */
const SLICE_MS = 4;

/** All of a generator's values, without holding the event loop for long. */
export async function inSlices<T>(values: Iterable<T>): Promise<T[]> {
  const all: T[] = [];
  let end = performance.now() + SLICE_MS;
  for (const value of values) {
    all.push(value);
    if (performance.now() < end) continue;
    await new Promise((resolve) => setImmediate(resolve));
    end = performance.now() + SLICE_MS;
  }
  return all;
}
