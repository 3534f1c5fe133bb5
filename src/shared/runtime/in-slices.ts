/** How long one slice may hold the event loop. */
const SLICE_MS = 4;

/** A generator's values, in the pieces that it makes without holding the event loop for long. */
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

/** All of a generator's values, without holding the event loop for long. */
export async function inSlices<T>(values: Iterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const slice of slicesOf(values)) for (const value of slice) all.push(value);
  return all;
}
