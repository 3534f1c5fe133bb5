/** What a file looks like by its first bytes: said in one line, and never of a file that can be read. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { sniff, SNIFF_BYTES } from '../../src/shared/bulk/sniff.ts';
import { missingField } from '../../src/shared/bulk/sniff-fields.ts';
import type { Reading } from '../../src/shared/bulk/sniff-records.ts';

const reading = (overrides: Partial<Reading> = {}): Reading => ({
  format: 'ndjson',
  textField: 'text',
  explicit: false,
  option: (name, value) => `--${name.replace('_', '-')} ${value}`,
  ...overrides,
});
const CSV = reading({ format: 'csv' });
const LINES = reading({ format: 'lines' });
const latin1 = (text: string) => Buffer.from(text, 'latin1');
const look = (content: string | Buffer, as = reading(), name = 'in.x', gzip = false) =>
  sniff(Buffer.from(content as string).subarray(0, SNIFF_BYTES), content.length < SNIFF_BYTES, as, {
    name,
    gzip,
  });

const utf16be = (text: string) => Buffer.from(text, 'utf16le').swap16();
const utf32le = (text: string) =>
  Buffer.from(Uint32Array.from([...text], (char) => char.codePointAt(0)!).buffer);
const rows = '{"id":1,"text":"a lovely film"}\n{"id":2,"text":"dull"}\n';
const zipOf = (name: string, flags = 0) =>
  Buffer.concat([
    latin1('PK\x03\x04\x14\0'),
    Buffer.of(flags, 0),
    Buffer.alloc(22),
    latin1(name),
    Buffer.alloc(50, 0xe5),
  ]);
const tar = Buffer.alloc(1024);
tar.write('reviews.jsonl');
tar.write('ustar', 257);

describe('recognises a file by its bytes, for every format', () => {
  test.each<[string, Buffer, RegExp]>([
    [
      'UTF-16 with its mark',
      Buffer.from(`\ufeff${rows}`, 'utf16le'),
      /^is UTF-16, .*iconv -f UTF-16 -t UTF-8 in\.x > in\.utf8\.x$/,
    ],
    ['UTF-16, big end first, with its mark', utf16be(`\ufeff${rows}`), /^is UTF-16, .*iconv -f UTF-16 /],
    ['UTF-16 without a mark', Buffer.from(rows, 'utf16le'), /^is UTF-16LE without .*iconv -f UTF-16LE /],
    ['UTF-16, big end first, without a mark', utf16be(rows), /^is UTF-16BE without .*iconv -f UTF-16BE /],
    [
      'Cyrillic UTF-16 without a mark',
      Buffer.from('id,text\r\n1,хороший фильм\r\n2,скучный фильм\r\n', 'utf16le'),
      /^is UTF-16LE/,
    ],
    ['UTF-32 with its mark', utf32le(`\ufeff${rows}`), /^is UTF-32, /],
    ['UTF-32 without a mark', utf32le(rows), /^is UTF-32LE without/],
    [
      'windows-1252',
      latin1('id,text\n1,good\n2,caf\xe9 tr\xe8s bon\n'),
      /^is not valid UTF-8 on line 3, .*iconv -f WINDOWS-1252 -t UTF-8 in\.x/,
    ],
    [
      'windows-1251',
      latin1('id,text\n1,\xf5\xee\xf0\xee\xf8\xe8\xe9 \xf4\xe8\xeb\xfc\xec\n'),
      /^is not valid UTF-8 on line 2, .*WINDOWS-1251/,
    ],
    ['windows-1252 without a line end', latin1('tr\xe8s bon'), /^is not valid UTF-8 on line 1/],
    [
      'a ZIP archive',
      zipOf('reviews.jsonl'),
      /^is a ZIP archive: unpack it first: unzip -p in\.x > in\.unpacked\.x$/,
    ],
    ['an encrypted ZIP archive', zipOf('reviews.jsonl', 1), /^is an encrypted ZIP archive/],
    [
      'an Excel workbook',
      zipOf('[Content_Types].xml'),
      /^is an Excel workbook \(\.xlsx\): save it as CSV UTF-8/,
    ],
    ['a Word document', zipOf('[Content_Types].xml word/document.xml'), /^is a Word document/],
    [
      'a spreadsheet',
      zipOf('mimetypeapplication/vnd.oasis.opendocument.spreadsheet'),
      /^is a spreadsheet \(\.ods\)/,
    ],
    ['zstd', zstdCompressSync(Buffer.from(rows)), /^is compressed with zstd: .*zstd -dc in\.x > /],
    ['bzip2', latin1('BZh91AY&SY\xe5\x11'), /^is compressed with bzip2: .*bzip2 -dc in\.x > /],
    ['xz', latin1('\xfd7zXZ\0\0\x04\xe6\xd6'), /^is compressed with xz: .*xz -dc in\.x > /],
    ['7-Zip', latin1('7z\xbc\xaf\x27\x1c\0\x04'), /^is a 7-Zip archive/],
    ['RAR', latin1('Rar!\x1a\x07\x01\0'), /^is a RAR archive/],
    ['tar', tar, /^is a tar archive: .*tar -xO -f in\.x > in\.unpacked\.x$/],
    [
      'Parquet',
      latin1('PAR1\x15\x04\x15\x80'),
      /^is Parquet: .*pandas\.read_parquet\("in\.x"\)\.to_json\("in\.jsonl"/,
    ],
    ['Avro', latin1('Obj\x01\x04\x14avro.codec'), /^is Avro/],
    ['ORC', latin1('ORC\x08\x03'), /^is ORC/],
    ['Arrow', latin1('ARROW1\0\0'), /^is Arrow/],
    ['SQLite', latin1('SQLite format 3\0\x10\0'), /^is an SQLite database/],
    ['PDF', latin1('%PDF-1.7\n%\xe2\xe3'), /^is a PDF, not a file of texts$/],
    [
      'an old Excel file',
      latin1('\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0'),
      /^is an old Excel or Word file .*CSV UTF-8/,
    ],
    ['RTF', latin1('{\\rtf1\\ansi hello}'), /^is RTF/],
    ['an image', latin1('\x89PNG\r\n\x1a\n\0\0\0\rIHDR'), /^is a PNG image/],
    [
      'brotli, which has no magic',
      brotliCompressSync(Buffer.from(rows.repeat(50))),
      /^is (?:binary data|not valid UTF-8)/,
    ],
    [
      'a pointer of Git LFS',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n'),
      /git lfs pull/,
    ],
    ['an encrypted file', latin1('Salted__\xa1\xb2'), /^is encrypted/],
    ['gzip, not announced', gzipSync(rows), /Content-Encoding: gzip/],
  ])('%s', (_, bytes, says) => {
    for (const as of [reading(), CSV, LINES, reading({ format: 'lines', explicit: true })]) {
      expect(look(bytes, as)).toMatch(says);
    }
  });

  test('gzip within gzip', () => {
    expect(look(gzipSync(rows), reading(), 'in.x.gz', true)).toMatch(/^is compressed twice with gzip/);
  });
});

describe('recognises a file by its first records', () => {
  test.each<[string, string, Reading, RegExp]>([
    [
      'an array over lines',
      '[\n  {"text":"a"},\n  {"text":"b"}\n]\n',
      reading(),
      /^is one JSON array, .*jq -c '\.\[\]' in\.x > in\.lines\.jsonl$/,
    ],
    [
      'an object around the records',
      '{\n  "data": [\n    {"text": "a"}\n  ]\n}\n',
      reading(),
      /^is one JSON object with its records in the array "data": convert it first: jq -c '\.data\[\]' in\.x > in\.lines\.jsonl$/,
    ],
    [
      'an object around the records, on one line',
      '{"rows":[{"text":"a"}],"next":2}',
      reading(),
      /jq -c '\.rows\[\]'/,
    ],
    ['an array on one line', '[{"text":"a"},{"text":"b"}]', reading(), /^is one JSON array/],
    [
      'an array, longer than what is looked at',
      `[{"text":"${'a'.repeat(2 * SNIFF_BYTES)}"}]`,
      reading(),
      /^is one JSON array/,
    ],
    ['an array, an object a line', '[{"text":"a"},\n{"text":"b"}]\n', reading(), /^is one JSON array/],
    ['an array of strings', '["a film","a play"]\n', reading(), /jq -c '\.\[\] \| \{text: \.\}'/],
    ['an array a line', '["1","a"]\n["2","b"]\n', reading(), /^has an array on each line/],
    [
      'commas',
      '{"text":"a"},\n{"text":"b"},\n',
      reading(),
      /^has a comma after each object: convert it first: sed /,
    ],
    ['commas, but the last', '{"text":"a"},\n{"text":"b"}\n', reading(), /^has a comma after each object/],
    [
      'objects on one line',
      '{"text":"a"}{"text":"b"}\n',
      reading(),
      /^has several objects on a line: convert it first: jq -c \. in\.x/,
    ],
    [
      'an object over lines',
      '{\n  "text": "a"\n}\n',
      reading(),
      /^has JSON objects over several lines: convert it first: jq -c \./,
    ],
    [
      'an object over lines that begins on one',
      '{"id": 1,\n "text": "a"}\n',
      reading(),
      /^has JSON objects over several lines/,
    ],
    [
      'Python',
      "{'id': 1, 'text': 'a'}\n{'id': 2, 'text': 'b'}\n",
      reading(),
      /^has single quotes .*python3 -c/,
    ],
    [
      'NaN',
      '{"text":"a","x":NaN}\n{"text":"b","x":-Infinity}\n',
      reading(),
      /^has NaN or Infinity, .*python3 -c/,
    ],
    ['CSV as JSON Lines', 'id;text\n1;a\n', reading(), /^is not JSON Lines: .*--format csv --delimiter ;$/],
    [
      'text as JSON Lines',
      'a film\na play\n',
      reading(),
      /^is not JSON Lines: none of its first 2 lines .*--format lines/,
    ],
    ['JSON Lines as CSV', rows, CSV, /^looks like JSON Lines: use --format ndjson$/],
    ['an array as CSV', '[\n{"text":"a"}\n]\n', CSV, /^is one JSON array/],
    ['JSON Lines as text', rows, LINES, /^looks like JSON Lines: use --format ndjson.*--format lines/],
    [
      'semicolons',
      'id;text\r\n1;a\r\n',
      CSV,
      /^has no column "text" with "," .* with ";": use --delimiter ;$/,
    ],
    ['tabs', 'id\ttext\n1\ta\n', CSV, /with tabs: use --delimiter \t$/],
    [
      'semicolons, of other columns',
      'id;review\n1;a, b\n',
      CSV,
      /^seems to have ";" .*--delimiter ; \(its columns are then id, review\)$/,
    ],
    ['commas as TSV', 'id,text\n1,a\n', { ...CSV, delimiter: '\t' }, /with ",": use --delimiter ,$/],
    [
      'a line for Excel',
      'sep=;\r\nid;text\r\n1;a\r\n',
      CSV,
      /^begins with a line that only Excel reads, sep=;: .*tail -n \+2 in\.x/,
    ],
    ['an HTML page', '\n<!DOCTYPE html>\n<html><title>Log in</title>', CSV, /^is an HTML page/],
    ['XML', '<?xml version="1.0"?>\n<a/>', LINES, /^is XML/],
    [
      'CR alone',
      'id,text\r1,a\r2,b',
      CSV,
      /^has lines that end with CR alone, .*tr '\\r' '\\n' < in\.x > in\.lf\.x$/,
    ],
    [
      'CR alone, in text',
      'a\rb\rc',
      reading({ format: 'lines', explicit: true }),
      /^has lines that end with CR alone/,
    ],
    [
      'CR alone, in JSON Lines',
      '{"text":"a"}\r{"text":"b"}\r',
      reading(),
      /^has lines that end with CR alone/,
    ],
  ])('%s', (_, content, as, says) => {
    expect(look(content, as)).toMatch(says);
  });

  test('suggested commands quote the name of the file', () => {
    expect(look('{"text":"a"}{"text":"b"}\n', reading(), "it's.jsonl.gz", true)).toMatch(
      /: gunzip -c 'it'\\''s\.jsonl\.gz' \| jq -c \. > 'it'\\''s\.lines\.jsonl'$/,
    );
    // A shell would empty the file before it is read.
    expect(look(latin1('SQLite format 3\0\x10\0'), CSV, 'in.csv')).toMatch(/ > in\.converted\.csv$/);
    expect(look('[{"text":"a"}]\n', reading(), '-x')).toMatch(/jq -c '\.\[\]' \.\/-x > -x\.lines\.jsonl$/);
  });

  test.each<[string, string, Reading, string, RegExp]>([
    [
      'python3',
      "{'id': 1, 'text': 'it is \"fine\"'}\n",
      reading(),
      '{"id": 1, "text": "it is \\"fine\\""}\n',
      /: (python3 .*)$/,
    ],
    [
      'python3',
      '{"text":"NaN, they said","x":NaN}\n',
      reading(),
      '{"text": "NaN, they said", "x": null}\n',
      /: (python3 .*)$/,
    ],
    ['sed', '{"text":"a"},\n{"text":"b,"},\n', reading(), '{"text":"a"}\n{"text":"b,"}\n', /: (sed .*)$/],
    ['tr', 'a\rb\r', LINES, 'a\nb\n', /: (tr .*)$/],
  ])('the command does it: %s, %j', (program, content, as, expected, where) => {
    if (!isInstalled(program)) {
      console.log(`skipped: ${program} is not installed`);
      return;
    }
    const folder = mkdtempSync(path.join(tmpdir(), 'amulet-sniff-'));
    try {
      writeFileSync(path.join(folder, 'in.jsonl'), content);
      const [, command = ''] = where.exec(look(content, as, 'in.jsonl')!) ?? [];
      execFileSync('/bin/sh', ['-c', command], { cwd: folder });
      const [, target = ''] = / > (\S+)$/.exec(command) ?? [];
      expect(readFileSync(path.join(folder, target), 'utf8')).toBe(expected);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

function isInstalled(program: string): boolean {
  try {
    execFileSync('/bin/sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('is not found fault with', () => {
  const utf8 = (text: string) => `\ufeff${text}`;
  test.each<[string, string | Buffer, Reading]>([
    ['JSON Lines', rows, reading()],
    ['JSON Lines with a mark and CRLF', utf8(rows.replaceAll('\n', '\r\n')), reading()],
    ['one bad line among good ones', `${rows}{bad\n`, reading()],
    ['a bad first line', `not JSON\n${rows}`, reading()],
    ['one NaN', `{"text":"a","x":NaN}\n${rows}`, reading()],
    ['a record longer than what is looked at', `{"text":"${'a'.repeat(2 * SNIFF_BYTES)}"}\n`, reading()],
    [
      'one damaged line in many',
      Buffer.concat([Buffer.from(rows.repeat(10)), latin1('{"text":"\xff"}\n')]),
      reading(),
    ],
    ['a damaged line beside UTF-8', Buffer.concat([Buffer.from('café\n'), latin1('caf\xe9\n')]), LINES],
    ['UTF-8 in Cyrillic, cut in a character', 'ы'.repeat(SNIFF_BYTES), LINES],
    ['a CSV', 'id,text\n1,"a\nb"\n', CSV],
    ['a CSV with a column that is missing', 'a,b\n1,2\n', CSV],
    ['a CSV with empty lines before it', '\r\n\nid,text\n1,a\n', CSV],
    ['text', 'a film, a play; and {more}\n[sic]\n', LINES],
    ['text with NUL in it', 'a\0b\n', LINES],
    ['what is said to be text', rows, reading({ format: 'lines', explicit: true })],
    ['one line that ends with CR', 'a\r', LINES],
    ['progress bars', '10 %\r20 %\ndone\n', LINES],
    ['a text that begins with BZh', 'BZh is a name\n', LINES],
    ['a record with an array of objects before its text', '{"tags":[{"a":1}],"text":"a"}\n', reading()],
    ['nothing', '', reading()],
    ['nothing, as CSV', '', CSV],
  ])('%s', (_, content, as) => {
    expect(look(content, as)).toBeUndefined();
  });

  test('any texts in any format, and nothing throws', () => {
    const text = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .map((part) => `x${part.replace(/[\r\n"\ufffd]/g, '_')}`);
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 20 }), (texts) => {
        expect(look(texts.map((each) => `${JSON.stringify({ text: each })}\n`).join(''))).toBeUndefined();
        expect(look(`id,text\n${texts.map((each) => `1,"${each}"\n`).join('')}`, CSV)).toBeUndefined();
        expect(look(texts.map((each) => `${each}\n`).join(''), LINES)).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, whole) => {
        for (const as of [reading(), CSV, LINES]) {
          const said = sniff(bytes, whole, as, { gzip: false });
          if (said !== undefined) expect(said).not.toMatch(/[\r\n]/);
          missingField(new TextDecoder().decode(bytes), whole, as);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the field with the texts', () => {
  test.each<[string, string, Reading, string | undefined]>([
    ['is there', rows, reading(), undefined],
    ['is null at first', '{"text":null,"review":"a fine film"}\n', reading(), undefined],
    ['is in a later record', '{"review":"a fine film"}\n{"text":"a"}\n', reading(), undefined],
    [
      'has another name',
      '{"id":"r1","review":"a fine film"}\n',
      reading(),
      'none of its first records has a field "text"; they have the fields id, review; is it --text-field review?',
    ],
    [
      'is a number',
      '{"text":5,"review":"a fine film"}\n',
      reading(),
      'the field "text" is never a string in its first records; they have the fields review; is it --text-field review?',
    ],
    [
      'is nowhere',
      '{"id":5}\n',
      reading(),
      'none of its first records has a field "text"; they have the fields id',
    ],
    [
      'is no address',
      '{"url":"https://example.com/a/very/long/path","body":"short"}\n',
      reading(),
      'none of its first records has a field "text"; they have the fields url, body; is it --text-field body?',
    ],
    ['is a column', 'id,text\n', CSV, undefined],
    [
      'is another column',
      'id,comment\n1,a fine film\n',
      CSV,
      'text column "text" is not in the header: id, comment; is it --text-field comment?',
    ],
    [
      'is another column of no rows',
      'id,review\n',
      CSV,
      'text column "text" is not in the header: id, review; is it --text-field review?',
    ],
    ['is in no column', 'a,b\n', CSV, 'text column "text" is not in the header: a, b'],
    ['is the line', 'a\n', LINES, undefined],
    ['is in records that cannot be read', 'nonsense\n', reading(), undefined],
  ])('%s', (_, content, as, says) => {
    expect(missingField(content, true, as)).toBe(says);
  });
});
