/** Reads the start of a file: whether it is gzipped, and which of its fields has the texts. */
import { parsedObject } from '../../../shared/bulk/json-problem.ts';
import { readRecords } from '../../../shared/bulk/sniff-records.ts';
import { delimiters, type FileFormat } from './batch-input.ts';

const HEAD_BYTES = 64 * 1024;
const GZIP_MAGIC = [0x1f, 0x8b];
export const USUAL_FIELD = 'text';

export interface Head {
  gzip: boolean;
  /** After gunzip. */
  bytes: Uint8Array;
  /** Whether the file has no further bytes. */
  whole: boolean;
  text: string;
}

/**
 * Reads only the start, whatever the size of the file.
 * @throws DOMException when it cannot be read: it is a folder, or was deleted
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
  const pieces: Uint8Array<ArrayBuffer>[] = [];
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
    // The start of a gzip file ends in the middle of its data; the part before that is enough.
  }
  await reader.cancel().catch(() => {});
  return { bytes: new Uint8Array(await new Blob(pieces).arrayBuffer()), ended };
}

export interface Fields {
  names: string[];
  /** The field that seems to have the texts, by the first record; undefined when no record was read. */
  likely: string | undefined;
}

/** @param head the start of a file */
export function findFields(head: string, format: FileFormat): Fields {
  const record = firstRecord(head, format);
  const names = [...record.keys()];
  if (record.has(USUAL_FIELD)) return { names, likely: USUAL_FIELD };
  // The text to classify tends to be the longest field of a record.
  const [longest] = names.toSorted((a, b) => (record.get(b)?.length ?? 0) - (record.get(a)?.length ?? 0));
  return { names, likely: longest };
}

/**
 * Finds a mistake that would make each line of a file an error, which one would notice only in the download.
 * @param head the start of the file
 */
export function doubtOf(head: string, format: FileFormat): string | undefined {
  if (head.includes('\0')) return 'This does not look like UTF-8 text.';
  if (format !== 'ndjson') return undefined;
  const [line = '', ...others] = head.split('\n').filter((each) => each.trim() !== '');
  // A line that is longer than the head is cut off, and cannot be checked.
  if (line === '' || (others.length === 0 && head.length >= HEAD_BYTES)) return undefined;
  if (line.trimStart().startsWith('[')) {
    return 'This looks like one JSON array. JSON Lines has one object per line, without brackets around them.';
  }
  return parsedObject(line) ? undefined : 'The first line is not a JSON object.';
}

/** The string fields of the first record, by name. */
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
