import { expect, test } from 'vitest';
import { isRepeated, numberLiteral } from '../../src/shared/bulk/written-members.ts';

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
  [`{${'"a":1,'.repeat(20)}"id":1,"id":2}`, true],
])('%s repeats a name of the root: %s', (json, repeated) => expect(isRepeated(json, 'id')).toBe(repeated));
