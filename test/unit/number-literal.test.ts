/** The number of a member as it was written. */
import { expect, test } from 'vitest';
import { numberLiteral } from '../../src/shared/bulk/number-literal.ts';

test.each([
  ['{"id":1.0}', '1.0'],
  ['{ "id" : 1e3 , "text":"a"}', '1e3'],
  ['{"text":"\\"id\\":7","id":1234567.8901234568}', '1234567.8901234568'],
  ['{"other":{"id":5},"id":5.0}', '5.0'],
  ['{"id":5.0,"other":{"id":5}}', '5.0'],
  ['{"id":4,"id":5.00}', '5.00'],
  ['{"\\u0069d":5.0}', '5.0'],
])('of %s is %s', (json, literal) => {
  const { id } = JSON.parse(json) as { id: number };
  expect(numberLiteral(json, 'id', id)).toBe(literal);
});
