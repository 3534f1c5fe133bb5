/**
 * Texts for bulk scenarios: from a file (`--archive FILE`, NDJSON with a field `text`, may be gzip), repeated when it is too
 * short; without it, sentences as long as those of SST-2.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { sentences } from './texts.ts';

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

/** `count` texts. */
export function archiveTexts(count: number): string[] {
  const texts = archive ?? sentences(Math.min(count, 50_000), 5);
  return Array.from({ length: count }, (_, i) => texts[i % texts.length]!);
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
