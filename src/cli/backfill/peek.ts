/** Looking at the beginning of a stream before reading it. */

/**
 * The first `bytes` bytes of a stream, fewer if it is shorter, and the whole stream, from its beginning.
 * @param source is closed when the returned stream is, and must not be read any more
 */
export async function peek(
  source: AsyncIterable<Buffer>,
  bytes: number,
): Promise<{ head: Buffer; stream: AsyncGenerator<Buffer, void, undefined> }> {
  const iterator = source[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (head.length < bytes) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  return { head: head.subarray(0, bytes), stream: prepend(head, iterator) };
}

/** Something, then what is left of a stream. */
export async function* prepend<T>(first: T, rest: AsyncIterator<T>): AsyncGenerator<T, void, undefined> {
  try {
    yield first;
    for (;;) {
      const next = await rest.next();
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await rest.return?.();
  }
}
