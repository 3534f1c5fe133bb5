/** Input of bulk backfill: split and parse together give back what a file was made of, however it arrives. */
import { parse as parseCsv } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { csvFields, fromStoredHeader, toHeader, toStoredHeader } from '../../src/shared/bulk/csv.ts';
import { InputError, type InputSpec } from '../../src/shared/bulk/input.ts';
import { parseChunk } from '../../src/shared/bulk/parse.ts';
import { splitRecords, type InputChunk } from '../../src/shared/bulk/split.ts';
import { textProblem } from '../../src/shared/contract/text.ts';
import { fuzz } from '../support/inputs/fuzz.ts';
import { inPieces } from '../support/inputs/pieces.ts';

const LIMITS = {
  chunkRows: 1000,
  chunkBytes: 1 << 20,
  maxRecordBytes: 1 << 16,
  header: { columns: 100, bytes: 1000 },
};
const PARSE_LIMITS = { maxTextChars: 1000, maxIdChars: 10 };
const SPECS = {
  ndjson: { format: 'ndjson', textField: 'text', idField: 'id' },
  csv: { format: 'csv', textField: 'text', idField: 'id' },
  lines: { format: 'lines', textField: 'text' },
} satisfies Record<string, InputSpec>;
const formats = Object.values(SPECS);

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function split(file: string | Buffer, input: InputSpec, limits = {}, sizes?: number[]) {
  const bytes = Buffer.from(file as string);
  return collect(splitRecords(inPieces(bytes, sizes), input, { ...LIMITS, ...limits }));
}

const parse = (chunk: InputChunk, input: InputSpec) => [
  ...parseChunk(chunk.bytes, { ...input, header: chunk.header }, chunk.firstLine, PARSE_LIMITS),
];

async function read(file: string | Buffer, input: InputSpec, limits = {}, sizes?: number[]) {
  const chunks = await split(file, input, limits, sizes);
  return chunks.flatMap((chunk) => parse(chunk, input));
}

const pieceSizes = fc
  .array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 20 })
  .filter((sizes) => sizes.some((size) => size > 0));
const chunkLimits = fc.record({
  chunkRows: fc.integer({ min: 1, max: 5 }),
  chunkBytes: fc.integer({ min: 1, max: 300 }),
});

describe('totals at the end of an input', () => {
  /** What splitRecords returns behind its chunks. */
  async function end(file: string, input: InputSpec, limits = {}, sizes?: number[]) {
    const chunks = splitRecords(inPieces(Buffer.from(file), sizes), input, { ...LIMITS, ...limits });
    for (;;) {
      const next = await chunks.next();
      if (next.done === true) return next.value;
    }
  }
  const columns = ['id', 'text'];

  test.each<[string, string, InputSpec, object]>([
    ['nothing', '', SPECS.lines, { lines: 0, multilineRows: 0 }],
    ['lines', 'a\nb\n', SPECS.lines, { lines: 2, multilineRows: 0 }],
    ['a last line without an end', 'a\nb', SPECS.lines, { lines: 2, multilineRows: 0 }],
    ['empty lines', '\na\n\n', SPECS.ndjson, { lines: 3, multilineRows: 0 }],
    ['a header alone', 'id,text\n', SPECS.csv, { lines: 1, multilineRows: 0, columns }],
    [
      'a header of a part before',
      '1,a\n',
      { ...SPECS.csv, header: toHeader(columns, SPECS.csv) },
      { lines: 1, multilineRows: 0 },
    ],
    ['a record a line', 'id,text\n1,a\n2,b', SPECS.csv, { lines: 3, multilineRows: 0, columns }],
    ['a text over lines', 'id,text\n1,"a\nb"\n2,c\n', SPECS.csv, { lines: 4, multilineRows: 1, columns }],
    ['one that ends the file', 'id,text\n1,a\n2,"a\nb"', SPECS.csv, { lines: 4, multilineRows: 1, columns }],
    ['two of them', 'id,text\n1,"a\nb"\n2,"\n\n"\n', SPECS.csv, { lines: 6, multilineRows: 2, columns }],
  ])('%s', async (_, file, input, known) => {
    expect(await end(file, input)).toEqual(known);
    expect(await end(file, input, { chunkRows: 1 }, [1])).toEqual(known);
  });
});

test('records of more bytes than a chunk starts with', async () => {
  const text = 'long '.repeat(30_000);
  const file = `short\n${text}\nlast\n`;
  const rows = await read(file, SPECS.lines, { maxRecordBytes: 1 << 20 }, [10_000]);
  expect(rows).toEqual([
    { line: 1, text: 'short' },
    { line: 2, error: { code: 'invalid_text', message: expect.stringContaining('1000') } },
    { line: 3, text: 'last' },
  ]);
  const chunks = await split(file, SPECS.lines, { maxRecordBytes: 1 << 20 }, [10_000]);
  expect(Buffer.concat(chunks.map(({ bytes }) => bytes)).toString()).toBe(file);
});

describe('any records in any format, cut anywhere', () => {
  const awkward = fc.constantFrom('"', '""', ',', '\n', '\r\n', '\r', ' ', '{', '\\', '🎬', '\ufeff', 'a');
  const string = fc.array(fc.oneof(awkward, fc.string({ unit: 'grapheme', maxLength: 8 })), {
    maxLength: 12,
  });
  const text = string
    .map((parts) => `x${parts.join('')}`)
    .filter((value) => textProblem(value, PARSE_LIMITS.maxTextChars) === undefined);
  const record = fc.record({
    text,
    id: fc.option(fc.stringMatching(/^[\w"',; é]{1,8}$/), { nil: undefined }),
    quoted: fc.boolean(),
    eol: fc.constantFrom('\n', '\r\n'),
    emptyLines: fc.constantFrom(0, 0, 0, 1, 2),
  });
  const layout = fc.record({
    bom: fc.boolean(),
    lastEol: fc.boolean(),
    delimiter: fc.constantFrom(',', ';', '\t'),
    records: fc.array(record, { maxLength: 12 }),
  });

  const csvField = (value: string, quoted: boolean, delimiter: string) =>
    quoted || /["\r\n]/.test(value) || value.includes(delimiter) ? `"${value.replaceAll('"', '""')}"` : value;

  test.each(formats)('$format', async (spec) => {
    await fc.assert(
      fc.asyncProperty(layout, chunkLimits, pieceSizes, async (file, limits, sizes) => {
        const { delimiter } = file;
        const input: InputSpec = { ...spec, delimiter };
        let content = spec.format === 'csv' ? `\r\n"id"${delimiter}text${delimiter}"oth""er"\r\n` : '';
        const expected = file.records.map(({ emptyLines, eol, id, quoted, ...fields }, i) => {
          // A line of plain text cannot hold a line ending.
          const text = spec.format === 'lines' ? fields.text.replace(/[\r\n]/g, '_') : fields.text;
          content += eol.repeat(emptyLines);
          const line = content.split('\n').length;
          if (spec.format === 'lines') content += text;
          else if (spec.format === 'ndjson') content += JSON.stringify({ other: [1], id, text });
          else {
            const values = [id ?? '', text, '\n'];
            content += values.map((value) => csvField(value, quoted, delimiter)).join(delimiter);
          }
          if (i < file.records.length - 1 || file.lastEol) content += eol;
          return { line, ...(spec.format !== 'lines' && id !== undefined && { id }), text };
        });
        const bytes = Buffer.from((file.bom ? '\ufeff' : '') + content);

        const chunks = await split(bytes, input, limits, sizes);
        const rows = chunks.map((chunk) => parse(chunk, input));
        expect(rows.flat()).toEqual(expected);
        for (const [i, chunk] of chunks.entries()) {
          expect(chunk).toMatchObject({ rows: rows[i]!.length, firstLine: rows[i]![0]!.line });
          expect(chunk.rows).toBeLessThanOrEqual(limits.chunkRows);
          expect(chunk.rows === 1 || chunk.bytes.length <= limits.chunkBytes).toBe(true);
        }
      }),
      fuzz(500),
    );
  });
});

describe('any bytes', () => {
  const telling = fc.constantFrom(...Buffer.from('"",\n\n\r {}a1\xff\xfe\xef\xbb\xbf\0', 'latin1'));
  const bytes = fc
    .array(fc.oneof({ weight: 4, arbitrary: telling }, fc.integer({ min: 0, max: 255 })), { maxLength: 300 })
    .map((values) => Buffer.from(values));
  const maxRecordBytes = fc.integer({ min: 1, max: 60 });

  test.each(formats)('$format: one row per record, the same chunks however cut', async (input) => {
    await fc.assert(
      fc.asyncProperty(bytes, chunkLimits, maxRecordBytes, pieceSizes, async (noise, limits, max, sizes) => {
        const file = input.format === 'csv' ? Buffer.concat([Buffer.from('id,text\n'), noise]) : noise;
        const all = { ...limits, maxRecordBytes: Math.max(max, 8) };
        const chunks = await split(file, input, all, sizes);
        expect(chunks).toEqual(await split(file, input, all));
        const rows = chunks.map((chunk) => parse(chunk, input));
        expect(rows.map((of) => of.length)).toEqual(chunks.map((chunk) => chunk.rows));
        expect(rows.map((of) => of[0]!.line)).toEqual(chunks.map((chunk) => chunk.firstLine));
        if (input.format === 'csv') return;
        const text = file.toString('latin1').replace(/^\xef\xbb\xbf/, '');
        const lines = [...text.split('\n').entries()].filter(([, line]) => line !== '' && line !== '\r');
        expect(rows.flat().map((row) => row.line)).toEqual(lines.map(([i]) => i + 1));
      }),
      fuzz(1000),
    );
  });

  test.each(formats)('$format: parseChunk alone never throws', (input) => {
    fc.assert(
      fc.property(bytes, (noise) => {
        for (const row of parseChunk(
          noise,
          { ...input, header: toHeader(['id', 'text'], input) },
          1,
          PARSE_LIMITS,
        ))
          expect(row.line).toBeGreaterThan(0);
      }),
    );
  });
});

describe('errors in place', () => {
  test.each<[string, string, string | Buffer]>([
    ['invalid_record', 'the record is not valid JSON', '{"text": "secret"'],
    ['invalid_record', 'not valid JSON', '  '],
    ['invalid_record', 'not valid JSON', '[' + '['.repeat(20_000)],
    ['invalid_record', 'not a JSON object', '["secret"]'],
    ['invalid_record', 'not a JSON object', 'null'],
    ['invalid_record', 'has the field "text" twice', '{"text": "secret", "text": "another"}'],
    ['invalid_record', 'has the field "id" twice', '{"id": 1, "text": "secret", "id": 2}'],
    ['invalid_record', '"text" twice', `{${'"a":1,'.repeat(20)}"text": "secret", "text": "another"}`],
    ['invalid_text', 'the field "text" is missing', '{}'],
    ['invalid_text', 'the field "text" is missing', '{"__proto__": {"text": "secret"}}'],
    ['invalid_text', 'the field "text" is not a string', '{"text": null}'],
    ['invalid_text', 'the text must not be empty', '{"text": ""}'],
    ['invalid_text', 'the text contains a lone surrogate', '{"text": "secret\\ud800"}'],
    ['invalid_text', 'has 1001 characters; at most 1000', `{"text": "${'x'.repeat(1001)}"}`],
    ['invalid_id', 'the id is neither a string nor a number', '{"id": true, "text": "secret"}'],
    ['invalid_id', 'too large', '{"id": 1e400, "text": "secret"}'],
    ['invalid_id', 'rounded', '{"id": 12345678901234567890, "text": "secret"}'],
    ['invalid_id', 'is empty', '{"id": "", "text": "secret"}'],
    ['invalid_id', 'NUL', '{"id": "a\\u0000", "text": "secret"}'],
    ['invalid_id', 'more than 10 characters', '{"id": "12345678901", "text": "secret"}'],
    ['invalid_encoding', 'not valid UTF-8', Buffer.from('{"text": "secret\xff"}', 'latin1')],
    // What would be a marker, had the splitter written it.
    ['invalid_encoding', 'not valid UTF-8', Buffer.from('\xff3 100', 'latin1')],
  ])('NDJSON, %s: %s', async (code, message, record) => {
    const good = '{"id": "a", "text": "fine"}\n';
    const file = Buffer.concat([Buffer.from(good), Buffer.from(record as string), Buffer.from(`\n${good}`)]);
    const rows = await read(file, SPECS.ndjson);
    expect(rows).toEqual([
      { line: 1, id: 'a', text: 'fine' },
      { line: 2, error: { code, message: expect.stringContaining(message) } },
      { line: 3, id: 'a', text: 'fine' },
    ]);
    expect(JSON.stringify(rows)).not.toContain('secret');
  });

  test.each([
    ['that could be parsed without NaN', (text: string) => `{"text":"${text}","score":NaN}`],
    ['that seems to go on below', (text: string) => `{"${text}":1,`],
  ])('a record of 30 MB %s is an error like a short one', (_, recordOf) => {
    const record = Buffer.from(recordOf('\\n'.repeat(15_000_000)));
    expect([...parseChunk(record, SPECS.ndjson, 1, PARSE_LIMITS)]).toEqual([
      { line: 1, error: { code: 'invalid_record', message: 'the record is not valid JSON' } },
    ]);
  });

  test('ids: numbers become strings, null means no id, a row with a text error keeps its id', async () => {
    const file = '{"id":7,"text":"a"}\n{"id":-1.5,"text":"a"}\n{"id":null,"text":"a"}\n{"id":"x"}\n';
    expect(await read(file, SPECS.ndjson)).toMatchObject([
      { id: '7' },
      { id: '-1.5' },
      { line: 3, text: 'a' },
      { id: 'x', error: { code: 'invalid_text' } },
    ]);
  });

  test('names that every JavaScript object inherits do not count as fields', async () => {
    const input = { ...SPECS.ndjson, textField: 'toString', idField: '__proto__' };
    expect(await read('{"text": "a"}\n{"toString": "b", "__proto__": "c"}', input)).toMatchObject([
      { error: { message: 'the field "toString" is missing' } },
      { id: 'c', text: 'b' },
    ]);
  });

  test.each([
    ['1', 'has 1 fields, but the header has 2'],
    ['1,secret,3', 'has 3 fields, but the header has 2'],
    ['1,a "secret"', 'quote inside an unquoted field'],
    ['1,"a" secret', 'continues after its closing quote'],
  ])('CSV %j', async (record, message) => {
    expect(await read(`id,text\n1,"a\nb"\n${record}\r\n,c`, SPECS.csv)).toEqual([
      { line: 2, id: '1', text: 'a\nb' },
      { line: 4, error: { code: 'invalid_record', message: expect.stringContaining(message) } },
      { line: 5, text: 'c' },
    ]);
  });

  test('a CSV quote that is not closed ends with the file, or with the line of the next quote', async () => {
    const message = expect.stringContaining('not closed');
    expect(await read('id,text\n1,"a\n2,b\n', SPECS.csv)).toEqual([
      { line: 2, error: { code: 'invalid_record', message } },
    ]);
    expect(await read('id,text\n1,"a\n2,"b"\n3,c\n', SPECS.csv)).toMatchObject([
      { line: 2, error: { code: 'invalid_record' } },
      { line: 4, text: 'c' },
    ]);
  });

  test('a carriage return alone ends no record, and joins no texts without a word', async () => {
    expect(await read('id,text\n1,a\rb\r\n2,c', SPECS.csv)).toMatchObject([
      { text: 'a\rb' },
      { line: 3, text: 'c' },
    ]);
    const message = expect.stringMatching(/carriage return .*: do some of the lines end with CR alone\?/);
    const error = { code: 'invalid_record', message };
    expect(await read('id,text\n1,a\r2,b\r\n3,"d\re"', SPECS.csv)).toMatchObject([
      { line: 2, error },
      { line: 3, text: 'd\re' },
    ]);
    expect(await read('text\na\rb\n"c\rd"\n', { format: 'csv', textField: 'text' })).toMatchObject([
      { line: 2, error },
      { text: 'c\rd' },
    ]);
    expect(await read('a\rb\r\nc\n', SPECS.lines)).toMatchObject([{ error }, { line: 2, text: 'c' }]);
  });

  test('an empty line is skipped; a line of white space is an error', async () => {
    expect(await read('\n\na\n\r\n \nb', SPECS.lines)).toEqual([
      { line: 3, text: 'a' },
      { line: 5, error: { code: 'invalid_text', message: expect.stringContaining('white space') } },
      { line: 6, text: 'b' },
    ]);
  });
});

describe('a number for an id', () => {
  const readId = async (id: string) => (await read(`{"id": ${id}, "text": "a"}`, SPECS.ndjson))[0];

  test.each([
    ['0', '0'],
    ['-7', '-7'],
    ['1.5', '1.5'],
    ['9007199254740991', '9007199254740991'],
    ['-9007199254740991', '-9007199254740991'],
  ])('%s becomes the string %s', async (written, id) => {
    expect(await readId(written)).toEqual({ line: 1, id, text: 'a' });
  });

  // From 2^53 on, two integers may be read as one.
  test.each(['9007199254740992', '9007199254740993', '-9007199254740992', '-9007199254740993', '1e300'])(
    '%s is refused: another one may be read as the same',
    async (written) => {
      const error = { code: 'invalid_id', message: expect.stringContaining('rounded') };
      expect(await readId(written)).toEqual({ line: 1, error });
    },
  );
});

describe('an id', () => {
  const readId = async (id: string, spec: InputSpec = SPECS.ndjson) =>
    (await read(`{"id": ${id}, "text": "a"}`, spec))[0];

  test.each(['0.1234567890123456789', '-0.1234567890123456789'])(
    '%s is refused: its last digits are rounded',
    async (written) => {
      const error = { code: 'invalid_id', message: expect.stringContaining('last digits are rounded') };
      expect(await readId(written)).toEqual({ line: 1, error });
    },
  );

  test('a text is limited in characters, not in UTF-16 units', async () => {
    for (const id of ['x'.repeat(10), '🎬'.repeat(10)])
      expect(await readId(JSON.stringify(id))).toEqual({ line: 1, id, text: 'a' });
    expect(await readId(JSON.stringify('🎬'.repeat(11)))).toMatchObject({ error: { code: 'invalid_id' } });
  });

  test('is in the field "id", unless the input says otherwise', async () => {
    expect(await readId('1', { format: 'ndjson', textField: 'text' })).toMatchObject({ id: '1' });
    expect(await read('id,text\n1,a\n', { format: 'csv', textField: 'text' })).toMatchObject([{ id: '1' }]);
    expect(await readId('1', { ...SPECS.ndjson, idField: 'other' })).toEqual({ line: 1, text: 'a' });
  });
});

describe('CSV that is wrong names its lines', () => {
  const messages = async (csv: string) =>
    (await read(csv, SPECS.csv)).map((row) => ('error' in row ? row.error.message : row.text));

  test.each<[string, string, (string | RegExp)[]]>([
    [
      'a quote that is never closed',
      'id,text\n1,a\n2,"b\nc\nd',
      ['a', /begins on line 3 .* line 5: its 3 lines get no label/],
    ],
    ['one on the last line', 'id,text\n1,"a', [/begins on line 2 .* line 2: its line gets no label/]],
    [
      'one behind a line feed',
      'id,text\n"1\n2","b\nc',
      [/begins on line 3 .* line 4: its 3 lines get no label/],
    ],
    [
      'a field too many, over lines',
      'id,text\n1,"a\nb",x\n2,c',
      [/^the record from line 2 to line 3 has 3 fields/, 'c'],
    ],
    ['a field too many, on a line', 'id,text\n1,a,x\n2,c', [/^the record has 3 fields/, 'c']],
    ['two files joined', 'id,text\n1,a\nid,text\n2,b', ['a', /repeats the header/, 'b']],
    ['one field of a record is as in the header', 'id,text\nid,a\n1,text', ['a', 'text']],
  ])('%s', async (_, csv, expected) => {
    expect(await messages(csv)).toEqual(
      expected.map((each) => (typeof each === 'string' ? each : (expect.stringMatching(each) as string))),
    );
  });

  test('a text that is the name of the only column is a text', async () => {
    const rows = await read('text\na\ntext\n', { format: 'csv', textField: 'text' });
    expect(rows).toMatchObject([{ text: 'a' }, { text: 'text' }]);
  });
});

describe('records that are too long', () => {
  const TIMES = 20;
  test.each(formats)(
    '$format: a row in place of one of many times the limit, and nothing of it is kept',
    async (input) => {
      const record = (text: string) => ({ csv: `1,"${text}"`, ndjson: `{"text":"${text}"}`, lines: text });
      const [start, end] = record('|')[input.format].split('|');
      async function* file() {
        yield Buffer.from(
          `${input.format === 'csv' ? 'id,text\n' : ''}${record('a')[input.format]}\n${start}`,
        );
        const part = Buffer.alloc(1 << 16, input.format === 'csv' ? 'x,\n' : 'x');
        for (let i = 0; i < TIMES; i++) yield part;
        yield Buffer.from(`${end}\n${record('b')[input.format]}`);
        await Promise.resolve();
      }
      const chunks = await collect(splitRecords(file(), input, LIMITS));
      expect(chunks).toMatchObject([{ rows: 3 }]);
      expect(chunks[0]!.bytes.length).toBeLessThan(100);
      const rows = parse(chunks[0]!, input);
      const message = expect.stringMatching(/^the record is longer than 65536 bytes/);
      expect(rows).toMatchObject([
        { text: 'a' },
        { line: rows[0]!.line + 1, error: { code: 'record_too_long', message } },
        { text: 'b' },
      ]);
      const lines = input.format === 'csv' ? TIMES * Math.floor(65536 / 3) + 1 : 1;
      expect(rows[2]!.line - rows[1]!.line).toBe(lines);
      if (input.format === 'csv')
        expect(rows[1]).toMatchObject({
          error: { message: /to line \d+; is a quote missing\? It begins on line 3,/ },
        });
    },
  );

  test('the limit counts the line ending', async () => {
    const rows = await read('1234\n12345\n12345', SPECS.lines, { maxRecordBytes: 5 });
    expect(rows.map((row) => 'error' in row)).toEqual([false, true, false]);
  });
});

describe('input that is refused before the first chunk', () => {
  test.each<[string, Partial<InputSpec>, string | Buffer]>([
    ['text column "x" is not in the header: a, b, c', { textField: 'x' }, 'a,b,c\n1,2,3\n'],
    ['id column "x" is not in the header: a, b', { textField: 'a', idField: 'x' }, 'a,b\n'],
    ['text column "a" is more than once in the header: a, b, a', { textField: 'a' }, 'a,b,a\n'],
    [`text column "text" is not in the header: ${'y'.repeat(40)}…`, {}, `${'y'.repeat(50)}\n`],
    ['the file has no header', {}, ''],
    ['the file has no header', {}, '\r\n\n'],
    ['the header has a quoted field that is not closed', {}, '"text\n1\n'],
    ['the header has more than 1000 bytes', {}, 'x'.repeat(70_000)],
    ['the header is not valid UTF-8', {}, Buffer.from('text,\xff\n1,2\n', 'latin1')],
    ['the delimiter must be a tab or one printable ASCII character', { delimiter: ';;' }, 'text\n'],
    ['the delimiter must be', { delimiter: '"' }, 'text\n'],
    ['the delimiter must be', { delimiter: 'é' }, 'text\n'],
  ])('%s', async (message, overrides, file) => {
    const reading = split(file, { format: 'csv', textField: 'text', ...overrides });
    await expect(reading).rejects.toThrow(InputError);
    await expect(reading).rejects.toThrow(message);
  });

  test('the header comes with every chunk; a header alone is no chunk', async () => {
    const input = { ...SPECS.csv, delimiter: ';' };
    const chunks = await split('text;id\na;1\nb;2\n', input, { chunkRows: 1 });
    const header = toHeader(['text', 'id'], input);
    expect(header).toMatchObject({ width: 2, text: 0, id: 1 });
    expect(chunks.map((chunk) => [chunk.header, chunk.firstLine])).toEqual([
      [header, 2],
      [header, 3],
    ]);
    expect(await split('text;id\n', input)).toEqual([]);
  });

  test('a file whose columns are known has no header', async () => {
    const input = { ...SPECS.csv, header: toHeader(['text', 'id'], SPECS.csv) };
    expect(await read('a,1\n', input)).toEqual([{ line: 1, id: '1', text: 'a' }]);
    expect(await split('', input)).toEqual([]);
  });

  test('a header may have so many columns and bytes, and is refused before it has ended', async () => {
    const input = { format: 'csv', textField: 'text' } as const;
    const header = { columns: 3, bytes: 20 };
    const row = (columns: number) => `text${',a'.repeat(columns - 1)}\n`;
    expect(await split(row(3), input, { header })).toEqual([]);
    await expect(split(row(4), input, { header })).rejects.toThrow(
      'the header has 4 columns; at most 3 are allowed (MAX_CSV_COLUMNS): keep the columns with text and id',
    );
    const long = (bytes: number) => `text,${'b'.repeat(bytes - 5)}`;
    for (const end of ['', '\n', '\r\n', '\r\r\n']) {
      expect(await split(`\ufeff${long(20)}${end}`, input, { header })).toEqual([]);
      await expect(split(`\ufeff${long(21)}${end}`, input, { header })).rejects.toThrow(
        'the header has more than 20 bytes (MAX_CSV_HEADER_BYTES)',
      );
    }
    let taken = 0;
    // eslint-disable-next-line @typescript-eslint/require-await
    async function* endless() {
      for (;;) {
        taken += 10;
        yield Buffer.from('"quoted,\n,');
      }
    }
    await expect(collect(splitRecords(endless(), input, { ...LIMITS, header }))).rejects.toThrow(InputError);
    expect(taken).toBeLessThanOrEqual(40);
  });

  test('a stored header gives the same rows with and without its names', async () => {
    for (const count of [2, 60, 90]) {
      const columns = ['id', ...Array.from({ length: count }, (_, i) => `column ${i}`), 'text'];
      const stored = toStoredHeader(columns, SPECS.csv);
      expect(JSON.stringify(stored).length).toBeLessThan(600);
      const kept = fromStoredHeader(stored, SPECS.csv);
      // Earlier versions kept names of any length.
      expect(fromStoredHeader({ columns }, SPECS.csv)).toEqual(kept);
      expect(kept).toEqual(toHeader(columns, SPECS.csv));
      const fields = (...values: string[]) =>
        `${[values[0], ...columns.slice(1, -1), values[1]].join(',')}\n`;
      const file = fields('1', 'a') + fields('id', 'text') + fields('', 'text') + 'short\n';
      const rows = await read(file, { ...SPECS.csv, header: kept });
      expect(rows).toMatchObject([
        { line: 1, id: '1', text: 'a' },
        { line: 2, error: { message: 'the record repeats the header: were two files joined?' } },
        { line: 3, text: 'text' },
        { line: 4, error: { message: `the record has 1 fields, but the header has ${count + 2}` } },
      ]);
    }
  });
});

test('the source is closed when the reader stops', async () => {
  let closed = false;
  async function* source() {
    try {
      for (;;) yield Buffer.from('a\n');
    } finally {
      closed = true;
      await Promise.resolve();
    }
  }
  for await (const chunk of splitRecords(source(), SPECS.lines, { ...LIMITS, chunkRows: 2 })) {
    expect(chunk).toMatchObject({ rows: 2, firstLine: 1 });
    break;
  }
  expect(closed).toBe(true);
});

test('a CSV record has the fields that csv-parse finds, or is refused as csv-parse refuses it', () => {
  const unit = fc.constantFrom('a', '"', '""', ',', '",', ',"', '\r', ' ', '\ufeff', '😀', "'", '\\', '\n');
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 12 }), (record) => {
      const fields = csvFields(Buffer.from(record), { delimiter: ',' });
      let parsed: string[][] | undefined;
      try {
        parsed = parseCsv(record, { delimiter: ',', record_delimiter: '\n' });
      } catch {
        // Refused.
      }
      if (parsed?.length === 1) expect(fields).toEqual(parsed[0]);
      else expect(fields).toHaveProperty('problem');
    }),
    fuzz(2000),
  );
});
