/** Ordinary English texts: real comments, and prose of a given length. */
import { readFileSync } from 'node:fs';

/** 200 English comments of GoEmotions (Apache-2.0); see test/fixtures/README.md. */
export function goEmotions(): string[] {
  const file = new URL('../../fixtures/goemotions-200.tsv', import.meta.url);
  return readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.slice(line.indexOf('\t') + 1));
}

/** A text of about so many characters, made of ordinary words. */
export function longText(chars: number): string {
  return 'the film is long and dull but the ending is wonderful '
    .repeat(Math.ceil(chars / 54))
    .slice(0, chars)
    .trim();
}
