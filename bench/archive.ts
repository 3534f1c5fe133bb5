/**
 * Texts for bulk scenarios: from a file (`--archive FILE`, NDJSON with a field `text`, may be gzip), repeated when it is too
 * short; without it, sentences as long as those of SST-2.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { sentences } from './texts.ts';

/** Different sentences at most: more would only take the bench's own memory. */
const SENTENCES = 400_000;

let archive: string[] | undefined;

/** @throws when the file cannot be read or parsed */
export function useArchive(file: string): void {
  const bytes = readFileSync(file);
  const content = bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes;
  archive = content
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { text: string }).text);
}

/** Number of different texts. */
export function archiveSize(): number {
  return archive?.length ?? 309_431;
}

/** `count` texts: other ones for every `round`, so that no cache has met them, as far as the archive goes. */
export function archiveTexts(count: number, round = 0): string[] {
  const texts = archive ?? sentences(Math.min(count, SENTENCES), 5 + round);
  const first = archive === undefined ? 0 : round * count;
  return Array.from({ length: count }, (_, i) => texts[(first + i) % texts.length]!);
}

const LINES_PER_PIECE = 2000;

/** The texts as NDJSON with ids, in pieces. */
export function* asNdjson(texts: readonly string[]): Generator<Buffer> {
  for (let start = 0; start < texts.length; start += LINES_PER_PIECE) {
    const lines = texts
      .slice(start, start + LINES_PER_PIECE)
      .map((text, i) => `${JSON.stringify({ id: `t${start + i}`, text })}\n`);
    yield Buffer.from(lines.join(''));
  }
}
