/**
 * Recognises files that are not UTF-8 text by their first bytes: archives, workbooks, column formats, other encodings. Runs in
 * browsers too.
 */
import { convert, converted, type SourceFile } from './convert.ts';

/** A kind of file that its first bytes identify. */
interface Kind {
  /** Identifying bytes, as Latin-1. */
  magic: string;
  /** Their offset; 0 when unset. */
  at?: number;
  describe: (file: SourceFile, head: Latin1) => string;
}

/** Bytes as characters with the same codes. */
type Latin1 = string;

const EXPORT = 'save it as CSV UTF-8 (comma delimited), and send that';

/** Advice for a file that a program unpacks to standard output. */
const unpack = (what: string, command: string) => (file: SourceFile) =>
  `is ${what}: unpack it first: ${convert(file, command, converted(file, 'unpacked'))}`;

/** Advice for a table that pandas reads. */
const table = (what: string, read: string) => (file: SourceFile) => {
  const [from, to] = [file.name ?? 'FILE', converted(file, '', '.jsonl')].map((name) => JSON.stringify(name));
  const program = `import pandas; pandas.${read}(${from}).to_json(${to}, orient="records", lines=True)`;
  return `is ${what}: make JSON Lines of it: python3 -c '${program.replaceAll("'", `'\\''`)}'`;
};

const refused = (what: string) => () => `is ${what}, not a file of texts`;

const KINDS: readonly Kind[] = [
  { magic: 'PK\x03\x04', describe: zip },
  { magic: 'PK\x05\x06', describe: () => 'is an empty ZIP archive' },
  { magic: 'PK\x07\x08', describe: zip },
  { magic: '\x28\xb5\x2f\xfd', describe: unpack('compressed with zstd', 'zstd -dc') },
  { magic: '\x2a\x4d\x18', at: 1, describe: unpack('compressed with zstd or LZ4', 'zstd -dc') },
  { magic: '\x04\x22\x4d\x18', describe: unpack('compressed with LZ4', 'lz4 -dc') },
  { magic: 'BZh', describe: unpack('compressed with bzip2', 'bzip2 -dc') },
  { magic: '\xfd7zXZ\0', describe: unpack('compressed with xz', 'xz -dc') },
  { magic: ']\0\0', describe: unpack('compressed with LZMA', 'xz -dc --format=lzma') },
  { magic: '\x1f\x9d', describe: unpack('compressed with compress', 'gunzip -c') },
  { magic: '\xff\x06\0\0sNaPpY', describe: unpack('compressed with Snappy', 'snzip -dc') },
  { magic: '7z\xbc\xaf\x27\x1c', describe: unpack('a 7-Zip archive', '7z x -so') },
  { magic: 'Rar!\x1a\x07', describe: unpack('a RAR archive', 'unrar p -inul') },
  { magic: 'ustar', at: 257, describe: tar },
  { magic: 'PAR1', describe: parquet },
  { magic: 'PARE', describe: refused('encrypted Parquet') },
  { magic: 'ARROW1', describe: table('Arrow', 'read_feather') },
  { magic: 'FEA1', describe: table('Feather', 'read_feather') },
  { magic: 'ORC', describe: table('ORC', 'read_orc') },
  {
    magic: 'Obj\x01',
    describe: (file) =>
      `is Avro: convert it first: ${convert(file, 'avro-tools tojson', converted(file, '', '.jsonl'))}`,
  },
  {
    magic: 'SQLite format 3\0',
    describe: (file) =>
      `is an SQLite database: export a table first: ${convert(file, 'sqlite3 -csv -header', converted(file, '', '.csv')).replace(' >', " 'SELECT * FROM …' >")}`,
  },
  {
    magic: '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1',
    describe: () => `is an old Excel or Word file (or an encrypted one): if it is a table, ${EXPORT}`,
  },
  { magic: '%PDF-', describe: refused('a PDF') },
  { magic: '{\\rtf', describe: refused('RTF, as word processors write it') },
  { magic: '\x89HDF\r\n', describe: table('HDF5', 'read_hdf') },
  { magic: '\x93NUMPY', describe: refused('a NumPy array') },
  { magic: '\x89PNG\r\n', describe: refused('a PNG image') },
  { magic: '\xff\xd8\xff', describe: refused('a JPEG image') },
  { magic: 'GIF8', describe: refused('a GIF image') },
  { magic: '\x7fELF', describe: refused('a program') },
  { magic: 'Salted__', describe: refused('encrypted (OpenSSL): decrypt it first') },
  { magic: '-----BEGIN PGP MESSAGE', describe: refused('encrypted (PGP): decrypt it first') },
  { magic: 'age-encryption.org/', describe: refused('encrypted (age): decrypt it first') },
  {
    magic: 'version https://git-lfs.github.com/spec/',
    describe: () => 'is a pointer of Git LFS and not the file itself: git lfs pull',
  },
];

function parquet(file: SourceFile): string {
  return file.commandOption
    ? `is Parquet: use ${file.commandOption('format', 'parquet')}`
    : table('Parquet', 'read_parquet')(file);
}

function zip(file: SourceFile, head: Latin1): string {
  if (/\[Content_Types\]\.xml|(?:^|[^a-z])xl\//.test(head)) {
    return head.includes('word/') ? refused('a Word document')() : `is an Excel workbook (.xlsx): ${EXPORT}`;
  }
  if (head.includes('opendocument.spreadsheet')) return `is a spreadsheet (.ods): ${EXPORT}`;
  if (head.includes('opendocument')) return refused('an OpenDocument file')();
  // Bit 0 of the flags of the first member.
  if ((head.charCodeAt(6) & 1) === 1) return 'is an encrypted ZIP archive: unpack it first';
  return unpack('a ZIP archive', 'unzip -p')(file);
}

function tar(file: SourceFile): string {
  const name = converted(file, 'unpacked');
  return `is a tar archive: unpack it first: ${convert(file, 'tar -xO -f', name).replace('-f >', '-f - >')}`;
}

/**
 * @param head the first bytes, unpacked from gzip, without a byte order mark of UTF-8
 * @param whole whether `head` is the whole file
 * @returns what the file is and what to do about it, continuing a sentence that begins with its name; undefined when nothing
 *   speaks against UTF-8
 */
export function sniffBytes(head: Uint8Array, whole: boolean, file: SourceFile): string | undefined {
  if (head[0] === 0x1f && head[1] === 0x8b) {
    return file.gzip
      ? 'is compressed twice with gzip: unpack it once, with gunzip'
      : 'is compressed with gzip: declare it (Content-Encoding: gzip)';
  }
  const characters = toLatin1(head);
  const kind = KINDS.find(({ magic, at = 0 }) => characters.startsWith(magic, at));
  if (kind && (kind.magic !== 'BZh' || /^BZh[1-9]1AY&SY/.test(characters)))
    return kind.describe(file, characters);
  const encoding = wideEncoding(head);
  if (encoding !== undefined) {
    // TextDecoder has no UTF-32.
    if (file.commandOption && encoding.name.startsWith('UTF-16'))
      return `is ${encoding.shown}: use ${file.commandOption('encoding', encoding.name.toLowerCase())}`;
    const command = convert(file, `iconv -f ${encoding.name} -t UTF-8`, converted(file, 'utf8'));
    return `is ${encoding.shown}, not UTF-8: convert it first: ${command}`;
  }
  return notUtf8(head, whole, file);
}

function toLatin1(bytes: Uint8Array): Latin1 {
  let characters = '';
  // Enough for the first names in an archive.
  for (const byte of bytes.subarray(0, 4096)) characters += String.fromCharCode(byte);
  return characters;
}

interface Encoding {
  name: string;
  shown: string;
}

/** Recognises UTF-16 and UTF-32 by their mark or by the zero bytes of ASCII characters. */
function wideEncoding(head: Uint8Array): Encoding | undefined {
  const [a, b, c, d] = head;
  const marked = (name: string) => ({ name, shown: name });
  if (a === 0xff && b === 0xfe) return marked(c === 0 && d === 0 ? 'UTF-32' : 'UTF-16');
  if (a === 0xfe && b === 0xff) return marked('UTF-16');
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return marked('UTF-32');
  const unmarked = (name: string) => ({ name, shown: `${name} without a byte order mark` });
  const zeros = [0, 0, 0, 0];
  const length = Math.min(head.length & ~3, 4096) || head.length & ~1;
  for (let i = 0; i < length; i++) if (head[i] === 0) zeros[i % 4] = (zeros[i % 4] ?? 0) + 1;
  const [z0, z1, z2, z3] = zeros as [number, number, number, number];
  const quarter = length / 4;
  if (z2 > 0.9 * quarter && z3 > 0.9 * quarter && z0 === 0) return unmarked('UTF-32LE');
  if (z0 > 0.9 * quarter && z1 > 0.9 * quarter && z3 === 0) return unmarked('UTF-32BE');
  // Spaces, digits, delimiters and line ends are ASCII in every language; no text contains NUL.
  const enough = length * 0.05;
  if (z1 + z3 >= 2 && z1 + z3 > enough && z0 + z2 === 0) return unmarked('UTF-16LE');
  if (z0 + z2 >= 2 && z0 + z2 > enough && z1 + z3 === 0) return unmarked('UTF-16BE');
  return undefined;
}

/** Fewer invalid lines than this become errors in their places, not an error of the file. */
const FEW_LINES = 3;
const LF = 0x0a;

/** Recognises single-byte encodings such as windows-1251: no line beyond ASCII is valid UTF-8. */
function notUtf8(head: Uint8Array, whole: boolean, file: SourceFile): string | undefined {
  let line = 0;
  let firstInvalid = 0;
  let invalid = 0;
  let highBytes = 0;
  for (let from = 0; from < head.length;) {
    const found = head.indexOf(LF, from);
    line++;
    const cut = found === -1 && !whole;
    if (cut && from > 0) break;
    const bytes = head.subarray(from, found === -1 ? head.length : found);
    from = found === -1 ? head.length : found + 1;
    const high = bytes.reduce((count, byte) => (byte < 0x80 ? count : count + 1), 0);
    if (high === 0) continue;
    highBytes += high;
    try {
      // The last line may be cut within a character.
      new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: cut });
      return undefined;
    } catch {
      firstInvalid ||= line;
      invalid++;
    }
  }
  if (invalid === 0 || (invalid < FEW_LINES && invalid * 10 < line)) return undefined;
  const binary = head.subarray(0, 4096).some((byte) => byte < 0x09 || (byte > 0x0d && byte < 0x1b));
  if (binary) return 'is binary data, not text';
  const letters = head.reduce(
    (count, byte) => ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a ? count + 1 : count),
    0,
  );
  const likely = highBytes > letters / 2 ? 'WINDOWS-1251' : 'WINDOWS-1252';
  const where = `is not valid UTF-8 on line ${firstInvalid}, its first line beyond ASCII`;
  if (file.commandOption)
    return `${where}: name its encoding, for example ${file.commandOption('encoding', likely.toLowerCase())}`;
  const command = convert(file, `iconv -f ${likely} -t UTF-8`, converted(file, 'utf8'));
  return `${where}: convert it from its encoding, for example ${command}`;
}
