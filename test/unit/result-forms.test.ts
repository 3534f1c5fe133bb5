/** Results in other forms: tables, and the fields of the input beside them. */
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readForm, type ResultForm } from '../../src/api/batches/result-form.ts';
import { ResultWriter } from '../../src/api/batches/result-writer.ts';
import { distinct, fieldNamer, jsonFields, lineKept } from '../../src/shared/bulk/kept-fields.ts';
import { chunkRecords } from '../../src/shared/bulk/parse.ts';
import { tableRecord, textField } from '../../src/shared/bulk/table.ts';
import { membersOf } from '../../src/shared/bulk/written-members.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const CSV = { delimiter: ',', raw: false } as const;
const TSV = { delimiter: '\t', raw: false } as const;

describe('a line of a table', () => {
  test.each([
    [['a', 'b,c', 'd"e', 'f\ng', 'h\r\ni', '', ' j\t'], 'a,"b,c","d""e","f\ng","h\r\ni",, j\t\n', CSV],
    [['a', 'b,c', 'd"e', 'f\ng', '', ' j\t'], 'a\tb,c\t"d""e"\t"f\ng"\t\t" j\t"\n', TSV],
  ])('of %j', (fields, line, table) => expect(tableRecord(fields, table)).toBe(line));

  test('is read back by csv-parse, whatever it has', () => {
    const field = fc.string({
      unit: fc.constantFrom('a', '"', ',', '\t', '\n', '\r', '\r\n', '😀', "'", ' '),
    });
    fc.assert(
      fc.property(
        fc.array(field, { minLength: 2, maxLength: 5 }),
        fc.constantFrom(CSV, TSV),
        (fields, table) => {
          const { delimiter } = table;
          expect(parse(tableRecord(fields, table), { delimiter, record_delimiter: '\n' })).toEqual([fields]);
        },
      ),
      fuzz(300),
    );
  });

  test.each([
    ['=1+1', "'=1+1"],
    ['+49 171', "'+49 171"],
    ['-x', "'-x"],
    ['@SUM(A1)', "'@SUM(A1)"],
    ['\tx', "'\tx"],
    ['\rx', "'\rx"],
    ['-', "'-"],
    ['-1e', "'-1e"],
    ['-5', '-5'],
    ['+3.25', '+3.25'],
    ['-.5e-7', '-.5e-7'],
    ['a=b', 'a=b'],
    ["'=1", "'=1"],
    ['', ''],
  ])('%j as text of a field: %j', (text, field) => {
    expect(textField(text, CSV)).toBe(field);
    expect(textField(text, { ...CSV, raw: true })).toBe(text);
  });
});

describe('fields of the input', () => {
  test.each([
    ['{"a":1}', { a: '1' }],
    [' { "a" : 1.50 , "b":"x,y:{" } ', { a: '1.50', b: '"x,y:{"' }],
    [
      '{"n":12345678901234567890,"o":{"a":[1,{"b":"}"}],"c":2},"l":[1, 2]}',
      { n: '12345678901234567890', o: '{"a":[1,{"b":"}"}],"c":2}', l: '[1, 2]' },
    ],
    ['{"a":1,"b":2,"a":3}', { a: '3', b: '2' }],
    ['{"\\u0061":null,"":true}', { a: 'null', '': 'true' }],
    ['{}', {}],
    ['{"s":"\\ud800\\"","t":"\\\\"}', { s: '"\\ud800\\""', t: '"\\\\"' }],
  ])('of %s, as written', (json, members) => expect(Object.fromEntries(membersOf(json))).toEqual(members));

  test('are those that JSON.parse finds', () =>
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(0, 2), (object, space) => {
        const json = JSON.stringify(object, undefined, space);
        const parsed = [...membersOf(json)].map(([name, value]): [string, unknown] => [
          name,
          JSON.parse(value),
        ]);
        const wanted = JSON.parse(json) as Record<string, unknown>;
        expect(new Map(parsed)).toEqual(new Map(Object.entries(wanted)));
      }),
      fuzz(300),
    ));

  test('called like those of the results get a prefix, and no two the same', () => {
    const nameOf = fieldNamer({ id: 'id', scores: false });
    expect(
      ['label', 'input_label', 'input_input_line', 'error', 'id', 'text', 'score_good', 'Label'].map(nameOf),
    ).toEqual([
      'input_label',
      'input_input_label',
      'input_input_input_line',
      'input_error',
      'id',
      'text',
      'score_good',
      'Label',
    ]);
    expect(fieldNamer({ id: 'key', scores: true })('id')).toBe('input_id');
    expect(fieldNamer({ id: 'key', scores: true })('score_good')).toBe('input_score_good');
  });

  test('of the same name are numbered', () =>
    expect(distinct(['a', 'a', 'a_2', 'a', 'b'])).toEqual(['a', 'a_3', 'a_2', 'a_4', 'b']));
});

describe('the form that a query asks for', () => {
  const LIMITS = { columns: 3 };
  const form = (query: Parameters<typeof readForm>[0]) => readForm(query, LIMITS);
  test.each([
    [{}, undefined],
    [{ format: 'ndjson' }, undefined],
    [{ keep: 'a,"b,c"' }, { format: 'ndjson', keep: ['a', 'b,c'], scoreColumns: false, raw: false }],
    [
      { format: 'csv', keep: '*' },
      { format: 'csv', keep: 'all', scoreColumns: false, raw: false },
    ],
    [
      { format: 'csv', keep: '"*"' },
      { format: 'csv', keep: ['*'], scoreColumns: false, raw: false },
    ],
    [
      { format: 'tsv', keep: 'a,b,c', raw: 'true', score_columns: 'true' },
      { format: 'tsv', keep: ['a', 'b', 'c'], scoreColumns: true, raw: true },
    ],
  ] as const)('%j', (query, wanted) => expect(form(query)).toEqual(wanted));

  test.each([
    [{ keep: 'a,b,c,d' }, /names 4 columns; at most 3/],
    [{ keep: 'a,b,a' }, /names "a" twice/],
    [{ keep: 'a,"b' }, /not closed/],
    [{ raw: 'true' }, /applies to CSV and TSV only/],
    [{ format: 'ndjson', score_columns: 'false' }, /applies to CSV and TSV only/],
  ] as const)('%j is refused', (query, message) => {
    expect(() => form(query)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
    expect(() => form(query)).toThrow(message);
  });
});

/** Results written in a form, from pieces of `size` bytes. */
async function written(
  input: string,
  results: object[],
  {
    form = {},
    columns,
    size = 7,
    kept = {},
    ...more
  }: {
    form?: Partial<ResultForm>;
    columns: string[];
    size?: number;
    kept?: Partial<NonNullable<ConstructorParameters<typeof ResultWriter>[0]['kept']>>;
    hasLabels?: boolean;
    scoreLabels?: string[];
  },
): Promise<string> {
  const nameOf = fieldNamer({ id: 'id', scores: false });
  const writer = new ResultWriter({
    form: { format: 'csv', keep: columns, scoreColumns: false, raw: false, ...form },
    kept: {
      names: columns.map(nameOf),
      json: true,
      others: false,
      nameOf,
      readerFor: () => jsonFields(columns, kept.others ?? false),
      ...kept,
    },
    hasIds: true,
    hasLabels: false,
    scoreLabels: [],
    ...more,
  });
  const ndjson = Buffer.from(results.map((row) => `${JSON.stringify(row)}\n`).join(''));
  async function* pieces() {
    for (let at = 0; at < ndjson.length; at += size)
      yield await Promise.resolve(ndjson.subarray(at, at + size));
  }
  let text = writer.header;
  const spec = { format: 'ndjson', textField: 'text' } as const;
  for await (const piece of writer.rows(pieces(), 0, chunkRecords(Buffer.from(input), spec, 1)))
    text += Buffer.from(piece).toString();
  return text;
}

const good = (line: number, { id, ...more }: { id?: string; [field: string]: unknown } = {}) => ({
  line,
  ...(id === undefined ? {} : { id }),
  label: 'good',
  score: 0.5,
  truncated: false,
  ...more,
});

describe('results with fields of the input', () => {
  const INPUT = [
    '{"id":7,"text":"a","n":1.50,"big":12345678901234567890,"o":{"x":[1, 2.0]},"label":"=old"}',
    '',
    '{"id":"=x","text":"b","n":null,"extra":"\\ud800 \\"q\\"\\r\\n"}',
    'no JSON',
    '{"text":"c","n":-3}',
  ].join('\n');
  const RESULTS = [
    good(1, { id: '7' }),
    good(3, { id: '=x', unknown: 0.25 }),
    { line: 4, error: { code: 'invalid_record', message: 'the record, "as" it is' } },
    good(5),
  ];

  test('NDJSON keeps them as they are written, and the id with its type', async () => {
    const text = await written(INPUT, RESULTS, {
      form: { format: 'ndjson', keep: 'all' },
      columns: [],
      kept: { others: true },
    });
    expect(text.split('\n')).toEqual([
      '{"line":1,"id":7,"text":"a","n":1.50,"big":12345678901234567890,"o":{"x":[1, 2.0]},"input_label":"=old","label":"good","score":0.5,"truncated":false}',
      '{"line":3,"id":"=x","text":"b","n":null,"extra":"\\ud800 \\"q\\"\\r\\n","label":"good","score":0.5,"truncated":false,"unknown":0.25}',
      '{"line":4,"error":{"code":"invalid_record","message":"the record, \\"as\\" it is"}}',
      '{"line":5,"text":"c","n":-3,"label":"good","score":0.5,"truncated":false}',
      '',
    ]);
  });

  test('NDJSON keeps those that are named', async () => {
    const text = await written(INPUT, RESULTS, { form: { format: 'ndjson' }, columns: ['n', 'extra'] });
    expect(text.split('\n').slice(0, 2)).toEqual([
      '{"line":1,"id":"7","n":1.50,"label":"good","score":0.5,"truncated":false}',
      '{"line":3,"id":"=x","n":null,"extra":"\\ud800 \\"q\\"\\r\\n","label":"good","score":0.5,"truncated":false,"unknown":0.25}',
    ]);
  });

  test.each([1, 7, 100_000])('CSV has a column for each, also from pieces of %d bytes', async (size) => {
    const columns = ['id', 'n', 'o', 'label', 'extra'];
    const text = await written(INPUT, RESULTS, { columns, size });
    expect(text).toBe(
      [
        'line,id,n,o,input_label,extra,label,score,truncated,unknown,error,error_message',
        '1,7,1.50,"{""x"":[1, 2.0]}",\'=old,,good,0.5,false,,,',
        // Half a surrogate pair has no bytes in UTF-8.
        '3,\'=x,,,,"\ufffd ""q""\r\n",good,0.5,false,0.25,,',
        '4,,,,,,,,,,invalid_record,"the record, ""as"" it is"',
        '5,,-3,,,,good,0.5,false,,,',
        '',
      ].join('\n'),
    );
  });

  test('TSV without escapes, with further fields as JSON', async () => {
    const text = await written(INPUT, RESULTS, {
      form: { format: 'tsv', raw: true, keep: 'all' },
      columns: ['id', 'text', 'n', 'label'],
      kept: { others: true },
    });
    const [header, first, second] = parse(text, {
      delimiter: '\t',
      record_delimiter: '\n',
    });
    expect(header!.slice(0, 7)).toEqual(['line', 'id', 'text', 'n', 'input_label', 'other_fields', 'label']);
    expect(first!.slice(0, 7)).toEqual([
      '1',
      '7',
      'a',
      '1.50',
      '=old',
      '{"big":12345678901234567890,"o":{"x":[1, 2.0]}}',
      'good',
    ]);
    expect(second!.slice(0, 6)).toEqual(['3', '=x', 'b', '', '', '{"extra":"\\ud800 \\"q\\"\\r\\n"}']);
  });

  test('labels are one column of JSON, or a column each', async () => {
    const labels = [
      { label: 'good', score: 0.75 },
      { label: '=bad', score: 0.25 },
    ];
    const rows = [
      good(1, { labels, score: 0.75 }),
      { line: 3, error: { code: 'invalid_text', message: 'm' } },
    ];
    const one = await written(INPUT, rows, { columns: ['n'], hasLabels: true });
    expect(one.split('\n').slice(0, 2)).toEqual([
      'line,id,n,label,score,labels,truncated,unknown,error,error_message',
      '1,,1.50,good,0.75,"[{""label"":""good"",""score"":0.75},{""label"":""=bad"",""score"":0.25}]",false,,,',
    ]);
    const each = await written(INPUT, rows, { columns: ['n'], scoreLabels: ['=bad', 'good'] });
    expect(each).toBe(
      'line,id,n,label,score,score_=bad,score_good,truncated,unknown,error,error_message\n' +
        '1,,1.50,good,0.75,0.25,0.75,false,,,\n3,,,,,,,,,invalid_text,m\n',
    );
  });

  test('start behind any row', async () => {
    const all = await written(INPUT, RESULTS, { columns: ['n'] });
    const rest = await written(INPUT, RESULTS.slice(2), { columns: ['n'] });
    const withoutHeader = rest.slice(rest.indexOf('\n') + 1);
    expect(all.endsWith(withoutHeader) && withoutHeader.startsWith('4,')).toBe(true);
  });

  test.each([
    ['that is gone', '{"text":"a"}', [good(1), good(2)]],
    ['on another line', '\n{"text":"a"}', [good(1)]],
    ['that cannot be read, although it was classified', 'no JSON', [good(1)]],
  ])('a record %s is damage', async (_, input, results) => {
    await expect(written(input, results, { columns: ['n'] })).rejects.toMatchObject({ name: 'DamagedInput' });
  });

  test('a plain line is its own field', async () => {
    const lines = { names: ['text'], json: false, readerFor: () => lineKept };
    const text = await written('=1\n\n{"a"}\n', [good(1), good(3)], { columns: ['text'], kept: lines });
    expect(text.split('\n').slice(1)).toEqual([
      "1,,'=1,good,0.5,false,,,",
      '3,,"{""a""}",good,0.5,false,,,',
      '',
    ]);
  });
});
