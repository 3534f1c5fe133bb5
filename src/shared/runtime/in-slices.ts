/** Runs a long generator in slices, so that the event loop stays responsive. */

/** Longest time that one slice may block the event loop. */
const SLICE_MS = 4;

/** Yields a generator's values in slices, and lets the event loop run between them. */
export async function* slicesOf<T>(values: Iterable<T>): AsyncGenerator<T[]> {
  let slice: T[] = [];
  let end = performance.now() + SLICE_MS;
  for (const value of values) {
    slice.push(value);
    if (performance.now() < end) continue;
    yield slice;
    slice = [];
    await new Promise((resolve) => setImmediate(resolve));
    end = performance.now() + SLICE_MS;
  }
  if (slice.length > 0) yield slice;
}

/** Collects a generator's values without blocking the event loop. */
export async function inSlices<T>(values: Iterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const slice of slicesOf(values)) for (const value of slice) all.push(value);
  return all;
}
