/** The beginning of a file: whether it is compressed, and which of its fields has the texts. */
import { readRecords } from '../../../shared/bulk/sniff-records.ts';
import { delimiters, type FileFormat } from './batch-input.ts';

const HEAD_BYTES = 64 * 1024;
const GZIP_MAGIC = [0x1f, 0x8b];
export const USUAL_FIELD = 'text';

export interface Head {
  gzip: boolean;
  /** Gzip undone. */
  bytes: Uint8Array;
  /** There are no others. */
  whole: boolean;
  text: string;
}

/**
 * Only the beginning is read, whatever the size of the file.
 * @throws DOMException when it cannot be read: a folder, or it is gone
 */
export async function readHead(file: Blob): Promise<Head> {
  const start = file.slice(0, HEAD_BYTES);
  const bytes = new Uint8Array(await start.arrayBuffer());
  const gzip = GZIP_MAGIC.every((byte, i) => bytes[i] === byte);
  const all = file.size <= HEAD_BYTES;
  const head = gzip ? await unzip(start) : { bytes, ended: true };
  return { gzip, bytes: head.bytes, whole: all && head.ended, text: new TextDecoder().decode(head.bytes) };
}

async function unzip(start: Blob): Promise<{ bytes: Uint8Array; ended: boolean }> {
  // Not every browser can iterate a stream.
  const reader = start.stream().pipeThrough(new DecompressionStream('gzip')).getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  let ended = false;
  try {
    while (length <= HEAD_BYTES && !ended) {
      const { value } = await reader.read();
      ended = value === undefined;
      if (value) pieces.push(value);
      length += value?.length ?? 0;
    }
  } catch {
    // A part of a compressed file ends in the middle: what came before is enough.
  }
  await reader.cancel().catch(() => {});
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return { bytes, ended };
}

export interface Fields {
  names: string[];
  /** The field with the texts, as far as one record can tell; undefined when none was read. */
  likely: string | undefined;
}

/** @param head the beginning of a file */
export function findFields(head: string, format: FileFormat): Fields {
  const record = firstRecord(head, format);
  const names = [...record.keys()];
  if (record.has(USUAL_FIELD)) return { names, likely: USUAL_FIELD };
  // Of what a record holds, the text to be labelled tends to be the longest.
  const [longest] = names.toSorted((a, b) => (record.get(b)?.length ?? 0) - (record.get(a)?.length ?? 0));
  return { names, likely: longest };
}

/**
 * What looks wrong with a file before it is sent: each of its lines would be an error, which nobody sees before the download.
 * @param head its beginning
 */
export function doubtOf(head: string, format: FileFormat): string | undefined {
  if (head.includes('\0')) return 'This does not look like text in UTF-8.';
  if (format !== 'ndjson') return undefined;
  const [line = '', ...others] = head.split('\n').filter((each) => each.trim() !== '');
  // Only a line that is whole can be judged; one that is longer than the head is cut.
  if (line === '' || (others.length === 0 && head.length >= HEAD_BYTES)) return undefined;
  if (line.trimStart().startsWith('[')) {
    return 'This looks like one JSON array. JSON Lines have an object on every line, and nothing around them.';
  }
  return isObject(line) ? undefined : 'The first line is not a JSON object.';
}

function isObject(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** Strings of the first record by their names. */
function firstRecord(head: string, format: FileFormat): Map<string, string> {
  if (format === 'lines') return new Map();
  if (format === 'ndjson') return firstObject(head);
  const [header = [], values = []] = readRecords(head, delimiters[format] ?? ',', 2);
  return new Map(header.map((name, i) => [name, values[i] ?? '']));
}

function firstObject(head: string): Map<string, string> {
  const line = head.split('\n').find((each) => each.trim() !== '') ?? '';
  try {
    const members = Object.entries(JSON.parse(line) as Record<string, unknown>);
    return new Map(members.filter((member): member is [string, string] => typeof member[1] === 'string'));
  } catch {
    return new Map();
  }
}
