import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { limited } from '../../src/shared/blobs/byte-streams.ts';

test('a long upload does not keep earlier pieces in memory', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const pieces: WeakRef<Uint8Array>[] = [];
  async function* source() {
    for (let i = 0; i < 100; i++) {
      const piece = new Uint8Array(1000);
      pieces.push(new WeakRef(piece));
      yield piece;
      await new Promise((resolve) => setImmediate(resolve));
    }
    collectGarbage();
    const kept = pieces.filter((piece) => piece.deref() !== undefined).length;
    expect(kept).toBeLessThan(10);
  }
  let bytes = 0;
  for await (const piece of limited(source(), { signal: new AbortController().signal }))
    bytes += piece.length;
  expect(bytes).toBe(100_000);
});
