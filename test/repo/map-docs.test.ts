/** The map "Where is …?" of docs/architecture.md: every file exists, and declares the symbols that its row names. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const [, section = ''] = readFileSync('docs/architecture.md', 'utf8').split('## Where is …?');
const rows = (section.split('\n## ')[0] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .slice(2)
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .map(([, behaviour = '', place = '']) => ({ behaviour, places: placesOf(place) }));

/** Files of a cell, each with the symbols that follow it. */
function placesOf(cell: string): { file: string; symbols: string[] }[] {
  return cell.split('; ').map((part) => {
    const [file = '', ...symbols] = [...part.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
    return { file, symbols };
  });
}

/** Whether a source declares a function, class, constant or method of this name. */
function declares(source: string, symbol: string): boolean {
  return [
    `^(export )?(async )?(function\\*?|class|const|let) ${symbol}\\b`,
    `^  (async |static |\\*|get )*${symbol}(<[^>]*>)?\\(`,
  ].some((declaration) => new RegExp(declaration, 'm').test(source));
}

test('the map has at least 25 behaviours, each once', () => {
  expect(rows.length).toBeGreaterThanOrEqual(25);
  expect(new Set(rows.map(({ behaviour }) => behaviour)).size).toBe(rows.length);
});

test.each(rows)('$behaviour', ({ places }) => {
  for (const { file, symbols } of places) {
    expect(existsSync(file), file).toBe(true);
    const source = readFileSync(file, 'utf8');
    expect(symbols.filter((symbol) => !declares(source, symbol))).toEqual([]);
  }
});
