import fc from 'fast-check';
import { expect, test } from 'vitest';
import { numberLiteral, repeatFinder } from '../../src/shared/bulk/written-members.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

test.each([
  ['{"id":1.0}', '1.0'],
  ['{ "id" : 1e3 , "text":"a"}', '1e3'],
  ['{"text":"\\"id\\":7","id":1234567.8901234568}', '1234567.8901234568'],
  ['{"other":{"id":5},"id":5.0}', '5.0'],
  ['{"id":5.0,"other":{"id":5}}', '5.0'],
  ['{"list":[{"id":4},["id",3]],"id":5.00}', '5.00'],
  ['{"a":"}","b":"id","id" : 5.0}', '5.0'],
  ['{"\\u0069d":5.0}', '5.0'],
])('the number of %s is %s', (json, literal) => {
  const { id } = JSON.parse(json) as { id: number };
  expect(numberLiteral(json, 'id', id)).toBe(literal);
});

test.each([
  ['{"id":1}', false],
  ['{"id":1,"text":"id"}', false],
  ['{"text":"id","list":["id",{"id":1,"a":{"id":2}}],"id":3}', false],
  ['{"id":1,"id":2}', true],
  ['{"id":[1,2],"a":"]","id":{"b":1}}', true],
  ['{"id":1,"\\u0069d":"id"}', true],
  ['{"id":1,"\\u0069d":2}', true],
  ['{"\\u0069\\u0064":1,"i\\u0064":2}', true],
  ['{"\\u0069d":1}', false],
  ['{"id":1,"text":"\\u0069d"}', false],
  ['{"id":1,"a":{"\\u0069d":2}}', false],
  ['{"id":1,"\\\\u0069d":2}', false],
  [`{${'"a":1,'.repeat(20)}"id":1,"id":2}`, true],
])('%s repeats a name of the root: %s', (json, repeated) => expect(repeatFinder('id')(json)).toBe(repeated));

const SHORT: Record<string, string> = { '"': '"', '\\': '\\', '/': '/', '\n': 'n', '\t': 't' };

/** A string as JSON, each of its UTF-16 units in one of the ways in which it can be written. */
function spelt(text: string, ways: readonly number[]): string {
  const units = Array.from({ length: text.length }, (_, i) => {
    const unit = text.charAt(i);
    const hex = text.charCodeAt(i).toString(16).padStart(4, '0');
    const plain = JSON.stringify(unit).slice(1, -1);
    const short = SHORT[unit] === undefined ? plain : `\\${SHORT[unit]}`;
    return [plain, short, `\\u${hex}`, `\\u${hex.toUpperCase()}`][(ways[i] ?? 0) % 4] as string;
  });
  return `"${units.join('')}"`;
}

test('finds repeated names in every spelling, and nothing else', () => {
  const names = ['id', 'ID', 'i/d', '"', '\\', ',', ':', 'ä\u{1F600}', 'a\nb\t', 'u0069d', ''];
  const string = fc.tuple(fc.constantFrom(...names), fc.array(fc.nat(3), { maxLength: 6 }));
  const value = fc.oneof(
    string.map((written) => spelt(...written)),
    fc.constantFrom('1', 'null', '[]', '["id","id"]', '{"id":1,"\\u0069d":2}'),
    fc.json({ maxDepth: 1 }),
  );
  const space = fc.constantFrom('', ' ', '\t ');
  fc.assert(
    fc.property(
      fc.constantFrom(...names),
      fc.array(fc.tuple(string, value, space), { maxLength: 5 }),
      (name, list) => {
        const members = list.map(([[other, ways], v, s]) => `${s}${spelt(other, ways)}${s}:${s}${v}`);
        const json = `{${members.join(',')}}`;
        JSON.parse(json);
        const times = list.filter(([[other]]) => other === name).length;
        expect(repeatFinder(name)(json), json).toBe(times > 1);
      },
    ),
    fuzz(2000),
  );
});
