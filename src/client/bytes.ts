/** Bytes in the runtimes of the client: streams of the web, and gzip where Node's zlib is missing. */
import { AmuletError } from './errors.ts';

/** Iterates a stream; not every browser can do so itself. */
export async function* read(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { value } = await reader.read();
      if (value === undefined) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

export const badGzip = (reason: string, cause: unknown): AmuletError =>
  new AmuletError('bad_gzip', `the gzip data of the input cannot be read: ${reason}`, { cause });

export const badZstd = (reason: string, cause: unknown): AmuletError =>
  new AmuletError('bad_zstd', `the zstd data of the input cannot be read: ${reason}`, { cause });

/** @throws AmuletError `bad_gzip` */
export async function* gunzip(
  compressed: AsyncGenerator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source: { error?: unknown } = {};
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const next = await compressed.next().catch((error: unknown) => {
        source.error = error;
        throw error;
      });
      if (next.done === true) controller.close();
      else controller.enqueue(next.value as Uint8Array<ArrayBuffer>);
    },
    async cancel() {
      await compressed.return(undefined);
    },
  });
  try {
    yield* read(stream.pipeThrough(new DecompressionStream('gzip')));
  } catch (error) {
    if ('error' in source) throw source.error;
    const reason = 'it is damaged or truncated, or has several members, which only fromFile() can read';
    throw badGzip(reason, error);
  }
}
