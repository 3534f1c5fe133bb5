/** A JSON array as JSON Lines: the same lines whatever pieces it arrives in, and one clear error where it has no end. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { arrayLines } from '../../src/cli/backfill/input/json-array.ts';
import { inPieces } from '../support/inputs/pieces.ts';

async function linesOf(content: string | Buffer, size = 1 << 16): Promise<string> {
  const pieces: Uint8Array[] = [];
  const source = inPieces(Buffer.from(content as string), [size]);
  for await (const piece of arrayLines(source, { name: 'in.json', textField: 'text' })) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

describe.each([1, 3, 1 << 16])('in pieces of %i bytes', (size) => {
  test.each<[string, string, string]>([
    ['objects', '[{"text":"a"},{"text":"b"}]', '{"text":"a"}\n{"text":"b"}\n'],
    ['over several lines', '[\n  {\n    "text": "a"\n  },\r\n  {}\n]\n', '{     "text": "a"   }\n{} \n'],
    ['brackets, quotes and commas in strings', '[{"text":"],[{\\"}"}]', '{"text":"],[{\\"}"}\n'],
    ['a backslash before the end of a string', '[{"a":"\\\\"},{"b":1}]', '{"a":"\\\\"}\n{"b":1}\n'],
    ['texts', '["a, b", "c\\""]', '{"text":"a, b"}\n{"text":"c\\""}\n'],
    [
      'deep elements',
      `[${'['.repeat(5000)}${']'.repeat(5000)}, 1]`,
      `${'['.repeat(5000)}${']'.repeat(5000)}\n1\n`,
    ],
    ['numbers as they are written', '[{"id":12345678901234567890}]', '{"id":12345678901234567890}\n'],
    ['nothing', ' [ ] ', ''],
    ['a comma after the last element', '[{"a":1},]', '{"a":1}\n'],
    ['an element that is missing', '[1,,2]', '1\n,\n2\n'],
    ['a line feed in a string, which JSON does not allow', '["a\nb"]', '{"text":"a\u0001b"}\n'],
    ['a bracket of the other kind', '[{"a":1],{"b":2}]', '{"a":1]\n{"b":2}\n'],
    ['JSON Lines', '{"text":"a"}\n{"text":"b"}', '{"text":"a"}\n{"text":"b"}'],
    ['JSON Lines of arrays', '["a",1]\n["b",2]\n', '["a",1]\n["b",2]\n'],
  ])('%s', async (_, content, expected) => {
    expect(await linesOf(content, size)).toBe(expected);
  });

  test.each<[string, string, string]>([
    [
      'without an end',
      '[{"text":"a"},{"text":"b"}',
      'in.json ends within its JSON array, in element 2: is it complete?',
    ],
    ['that is only begun', '[', 'in.json ends within its JSON array: is it complete?'],
    [
      'with an open quote',
      '["a", "b]\n',
      'in.json ends within its JSON array, in element 2: is a quote missing?',
    ],
    ['with another one behind it', '[1]\n{"a":2}', 'in.json has other data after its JSON array'],
  ])('an array %s is an error', async (_, content, message) => {
    await expect(linesOf(content, size)).rejects.toMatchObject({
      exitCode: 1,
      message: expect.stringContaining(message),
    });
  });
});

test('every JSON array gives its elements', async () => {
  const element = fc.oneof(
    fc.json({ maxDepth: 3 }),
    fc.string().map((text) => JSON.stringify({ text })),
  );
  const arrays = fc.array(
    element.filter((json) => !json.startsWith('"')),
    { minLength: 1, maxLength: 20 },
  );
  await fc.assert(
    fc.asyncProperty(arrays, fc.integer({ min: 1, max: 50 }), async (elements, size) => {
      const lines = await linesOf(`[${elements.join(' ,\n')}]`, size);
      expect(
        lines
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as unknown),
      ).toEqual(elements.map((json) => JSON.parse(json) as unknown));
    }),
  );
});
