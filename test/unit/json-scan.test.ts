import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { numberLoss } from '../../src/shared/contract/exact-number.ts';
import { endOfString, scanJson } from '../../src/shared/contract/json-scan.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

describe('numberLoss', () => {
  test.each([
    '0',
    '0.0',
    '0e400',
    '0.000e-999',
    '7',
    '-7',
    '1.0',
    '1e2',
    '1E+2',
    '1.50',
    '0.1',
    '0.30000000000000004',
    '9007199254740991',
    '9007199254740992',
    '9007199254740994',
    '1e30',
    '1e300',
    '5e-324',
    '2.2250738585072014e-308',
    '1.7976931348623157e308',
    '0.10',
    '100000000000000000000000000',
    `1${'0'.repeat(400)}e-400`,
    `0.${'0'.repeat(400)}1e401`,
    '12345678901234.566',
    '1.2345678901234566e-7',
  ])('%s comes back as the same number', (literal) => expect(numberLoss(literal)).toBeUndefined());

  test.each([
    ['1546130668394913822', '1546130668394913800'],
    ['-1546130668394913822', '-1546130668394913800'],
    ['9007199254740993', '9007199254740992'],
    ['9007199254740993.0', '9007199254740992'],
    ['9007199254740993e0', '9007199254740992'],
    ['12345678901234567890', '12345678901234567000'],
    ['0.12345678901234567890', '0.12345678901234568'],
    ['0.10000000000000001', '0.1'],
    ['12345678901234.5678', '12345678901234.568'],
    ['1.00000000000000000001', '1'],
    ['1e400', 'null'],
    ['-1e400', 'null'],
    ['1.8e308', 'null'],
    ['1e99999999999999999999', 'null'],
    ['1e-400', '0'],
    ['-1e-400', '0'],
    ['0.1e-400', '0'],
    ['4.9e-324', '5e-324'],
    ['-0', '0'],
    ['-0.0', '0'],
    ['-0e5', '0'],
  ])('%s would become %s', (literal, becomes) => expect(numberLoss(literal)).toBe(becomes));

  test('every number that JSON.stringify writes comes back', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(numberLoss(JSON.stringify(value))).toBeUndefined();
      }),
      fuzz(500),
    );
  });

  test('an integer comes back exactly when a double holds it', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }), (value) => {
        const held = BigInt(
          JSON.stringify(Number(value)).replace(/^(-?)(\d)(?:\.(\d+))?e\+(\d+)$/, expanded),
        );
        expect(numberLoss(String(value)) === undefined).toBe(held === value);
      }),
      fuzz(500),
    );
  });

  test('a number of a million digits is looked at once', () => {
    expect(numberLoss(`1${'0'.repeat(1e6)}1e-1000001`)).toBe('1');
    expect(numberLoss(`0.${'0'.repeat(1e6)}1e1000001`)).toBeUndefined();
  });
});

const expanded = (_: string, sign: string, digit: string, fraction = '', exponent: string) =>
  sign + digit + fraction.padEnd(Number(exponent), '0');

describe('endOfString', () => {
  /** By the definition: the first quote behind an even number of backslashes. */
  const naive = (json: string, from: number): number => {
    for (let at = from + 1; at < json.length; at++) {
      if (json[at] === '\\') at++;
      else if (json[at] === '"') return at;
    }
    return json.length;
  };

  test('is the first quote that no backslash escapes', () => {
    const piece = fc.constantFrom(
      'a',
      '"',
      '\\',
      '\\"',
      '\\\\',
      '😀',
      '\\n',
      'x'.repeat(1001),
      '\\"'.repeat(1001),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const json = `"${pieces.join('')}`;
        expect(endOfString(json, 0)).toBe(naive(json, 0));
      }),
      fuzz(500),
    );
  });

  test.each([
    ['letters', 'a'],
    ['escapes', '\\"'],
    ['both', 'a\\"'],
    ['pairs of backslashes', '\\\\'],
  ])('behind 30 million characters of %s', (_, unit) => {
    const inside = unit.repeat(30_000_000 / unit.length);
    expect(endOfString(`"\\\\${inside}",`, 0)).toBe(inside.length + 3);
  });
});

describe('scanJson', () => {
  const losses = (json: string, options = {}) => {
    JSON.parse(json);
    const scan = scanJson(json, { maxDepth: 50, ...options });
    return [...scan.losses, ...(scan.excess ? [scan.excess] : [])].map(
      ({ path, message }) => `${path.join('.')} ${message}`,
    );
  };

  test.each([
    '{}',
    'null',
    '"\\\\"',
    ' { "a" : [ 1 , { "a" : 2 } , "a" ] , "b" : { "a" : true } } ',
    '{"a":"\\"1546130668394913822","b":"{\\"a\\":1,\\"a\\":2}"}',
    '{"a\\\\":1,"a":2}',
    '{"__proto__":1,"constructor":2,"toString":3}',
    '{"":1," ":2}',
    '{"\\ud800":1,"\\ud801":2}',
    '[[],[],{},{}]',
    '{"1":1,"01":2}',
  ])('nothing is wrong with %s', (json) => expect(losses(json)).toEqual([]));

  test.each([
    [
      '1546130668394913822',
      ' is 1546130668394913822, which would become 1546130668394913800 (send it as a string)',
    ],
    ['{"a":[0,{"b":1e400}]}', 'a.1.b is 1e400, which would become null (send it as a string)'],
    ['{"a":1,"b":2,"a":3}', 'a is given twice'],
    ['{"a":1,"\\u0061":3}', 'a is given twice'],
    ['{"__proto__":1,"__proto__":2}', '__proto__ is given twice'],
    ['[{"x":{"k":1,"k":1}}]', '0.x.k is given twice'],
    ['{"a":"}","a":","}', 'a is given twice'],
    ['{"a":"\\\\","a":1}', 'a is given twice'],
    ['{"":0,"":0}', ' is given twice'],
  ])('%s: %s', (json, loss) => expect(losses(json)).toEqual([loss]));

  test('a name is found again among few and among many', () => {
    for (const count of [1, 8, 9, 100]) {
      const members = Array.from({ length: count }, (_, i) => `"k${i}":${i}`).join();
      expect(losses(`{${members},"new":1}`)).toEqual([]);
      for (const name of ['k0', `k${count - 1}`])
        expect(losses(`{${members},"${name}":1}`)).toEqual([`${name} is given twice`]);
    }
  });

  test('all are named, up to ten', () => {
    expect(losses('[-0, 9007199254740993, {"a":1, "a":1}]')).toHaveLength(3);
    expect(losses(`[${Array.from({ length: 20 }, () => '-0').join()}]`)).toHaveLength(10);
  });

  test('an error shortens a long literal', () => {
    expect(losses('9'.repeat(300))).toEqual([
      ` is ${'9'.repeat(40)}…, which would become 1e+300 (send it as a string)`,
    ]);
  });

  test('only the numbers of the member that is kept count, but equal names count everywhere', () => {
    const json = '{"top_k":9007199254740993,"metadata":{"n":9007199254740993},"metadata":{}}';
    expect(losses(json, { keeps: 'metadata' })).toEqual([
      'metadata.n is 9007199254740993, which would become 9007199254740992 (send it as a string)',
      'metadata is given twice',
    ]);
  });

  test('lists and objects one beyond the depth are named by where they begin', () => {
    const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}1${']'.repeat(depth - 1)}}`;
    expect(losses(nested(50))).toEqual([]);
    expect(losses(nested(51))).toEqual([' is nested more than 50 levels deep']);
    expect(losses(nested(100_000), { keeps: 'b' })).toEqual(['a is nested more than 50 levels deep']);
    expect(losses('['.repeat(51) + ']'.repeat(51), { shownDepth: 49 })).toEqual([
      ' is nested more than 49 levels deep',
    ]);
  });

  test('output of JSON.stringify has no losses', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.nat(2), (value, indent) => {
        expect(losses(JSON.stringify(value, null, indent))).toEqual([]);
      }),
      fuzz(300),
    );
  });

  /** Items of arrays and members of objects, and the root. */
  const countValues = (value: unknown): number =>
    typeof value === 'object' && value !== null
      ? Object.values(value).reduce((sum: number, inner) => sum + countValues(inner), 1)
      : 1;

  test('counts as many values as JSON.parse makes, and stops at one above the limit', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), fc.nat(2), (json, indent) => {
        const written = JSON.stringify(JSON.parse(json), null, indent);
        const values = countValues(JSON.parse(written));
        expect(scanJson(written, { maxDepth: 50 })).toMatchObject({ values, excess: undefined });
        expect(scanJson(written, { maxDepth: 50, maxValues: values })).toMatchObject({
          values,
          excess: undefined,
        });
        if (values === 1) return;
        expect(scanJson(written, { maxDepth: 50, maxValues: values - 1 })).toMatchObject({
          values,
          excess: { message: expect.stringContaining(`${values - 1} values`) as string },
        });
      }),
      fuzz(500),
    );
  });

  test.each([
    ['an array of the root', '{"a":[1,2,3]}', 'a takes the body beyond 3 values'],
    ['the root', '{"a":1,"b":2,"c":3}', ' must have at most 3 values'],
    ['a root that is an array', '[[],[],[]]', ' must have at most 3 values'],
    ['names without values', '{"a","b","c"', ' must have at most 3 values'],
    ['an object within', '{"a":{"b":1,"c":2,"d":3', 'a takes the body beyond 3 values'],
    ['words', '[true,false,null]', ' must have at most 3 values'],
  ])('values of %s', (_, json, message) => {
    const { values, excess } = scanJson(json, { maxDepth: 50, maxValues: 3, keeps: 'metadata' });
    expect([values, `${excess?.path.join('.')} ${excess?.message}`]).toEqual([
      4,
      `${message}, counting items of arrays and members of objects on all levels`,
    ]);
  });

  test('stops at a limit', () => {
    const bomb = `{${'"a":1,'.repeat(20)}"list":[${'1,'.repeat(1e6)}`;
    const { values, excess, losses: found } = scanJson(bomb, { maxDepth: 50, maxValues: 100 });
    expect([values, excess?.path, found.length]).toEqual([101, ['list'], 10]);
  });

  test('items of an array of the root are limited by its name', () => {
    const limits = { maxDepth: 50, keeps: 'metadata', maxItems: new Map([['a', 3]]) };
    const excessOf = (json: string) => scanJson(json, limits).excess;
    expect(excessOf('{"a":[1,[1,1,1,1],3],"b":[1,1,1,1]}')).toBeUndefined();
    expect(excessOf('{"b":{"a":[1,1,1,1]},"c":[[1,1,1,1]]}')).toBeUndefined();
    expect(excessOf('[{"a":[1,1,1,1]}]')).toBeUndefined();
    expect(excessOf('{"b":1,"\\u0061":[1,[2,2],3,4]}')).toEqual({
      path: ['a'],
      message: 'must have at most 3 items',
    });
  });

  test('a number may have as many characters as allowed', () => {
    const limits = { maxDepth: 50, maxNumberChars: 10, keeps: 'metadata' };
    expect(scanJson('{"a":[1234567.89]}', limits).excess).toBeUndefined();
    expect(scanJson('{"a":[1234567.890]}', limits).excess).toEqual({
      path: ['a', 0],
      message: 'is a number of more than 10 characters',
    });
  });

  test('objects in objects have the most tokens to a value', () => {
    const json = `{${'"a":{},'.repeat(100)}"b":{}}`;
    expect(scanJson(json, { maxDepth: 50, maxValues: 102 })).toMatchObject({ values: 102 });
    expect(scanJson(json, { maxDepth: 50, maxValues: 101 }).excess).toBeDefined();
  });

  test.each([',', ':', ']', '""', 't', '{,', '[,'])('%s again and again is read in part', (token) => {
    const json = token.repeat(100_000);
    const { values, losses: found } = scanJson(json, { maxDepth: 1e6, maxValues: 100 });
    expect([values <= 101, found.length <= 10]).toEqual([true, true]);
    expect(() => JSON.parse(json) as unknown).toThrow(SyntaxError);
  });

  test('a text that is no JSON is walked to its end', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', '-', '1', 'e', 'null', ' ', '\\u12'),
        ),
        (tokens) => {
          const json = tokens.join('');
          expect(scanJson(json, { maxDepth: 50 }).values).toBeLessThanOrEqual(json.length);
        },
      ),
      fuzz(500),
    );
  });
});
