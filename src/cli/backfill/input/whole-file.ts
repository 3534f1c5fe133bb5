/**
 * Reads a file as one document: a line of JSON with its content as the text. Only the bytes that JSON escapes are changed, a piece at a
 * time, so that memory is that of a piece and the server judges the text as it is: an invalid byte stays one.
 */
type Bytes = AsyncGenerator<Uint8Array, void, undefined>;

/** @param id of the document */
export async function* documentLine(content: AsyncIterable<Uint8Array>, id: string): Bytes {
  yield Buffer.from(`{"id":${JSON.stringify(id)},"text":"`);
  for await (const bytes of content) yield escaped(bytes);
  yield Buffer.from('"}\n');
}

/** Control characters, the quote and the backslash. */
const SPECIAL = /[^ !#-[\]-\xff]/g;

function escaped(bytes: Uint8Array): Uint8Array {
  // Latin-1 keeps every byte as it is.
  const characters = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  return Buffer.from(
    characters.replaceAll(SPECIAL, (character) => JSON.stringify(character).slice(1, -1)),
    'latin1',
  );
}
