/** Finds the sources behind an address: a file on a web server, an object of S3, or all objects below a prefix. */
import { createHash } from 'node:crypto';
import { UsageError } from '../../terminal/exit.ts';
import { decode, decompress, type Compression } from '../input/decode.ts';
import { isHidden, matcher, MAX_FILES, noFiles } from '../input/folder.ts';
import type { Input, InputIdentity } from '../input/input.ts';
import type { ReadingOptions } from '../input/reading.ts';
import type { Source } from '../input/source.ts';
import { protocolOf } from './addresses.ts';
import { httpFile } from './http-file.ts';
import { readAhead } from './read-ahead.ts';
import { atOpening, RemoteFile, type RemoteOptions, type RemoteRequests } from './remote-file.ts';
import { parseS3Address, s3Url, throwMissingPackage } from './s3-address.ts';

export interface RemoteSources {
  list: Source[];
  /** The address is a prefix, below which there may be several. */
  isFolder: boolean;
}

/** @throws CliError when there is no such file, or it cannot be read */
export async function findRemote(
  word: string,
  glob: string | undefined,
  options: RemoteOptions,
): Promise<RemoteSources> {
  if (protocolOf(word) === 'http')
    return { list: [await fileSource(httpFile(word), options)], isFolder: false };
  const address = parseS3Address(word);
  const { connectS3 } = await import('./s3-client.ts').catch(throwMissingPackage);
  const { listObjects, s3File } = await import('./s3-file.ts');
  const client = await connectS3(address);
  const { key: prefix } = address;
  if (prefix !== '' && !prefix.endsWith('/'))
    return { list: [await fileSource(s3File(client, address), options)], isFolder: false };
  const objects = await atOpening(word, options, () =>
    listObjects(client, address, { maxObjects: MAX_FILES, signal: options.signal }),
  );
  const below = objects.map((object) => ({ ...object, path: object.key.slice(prefix.length) }));
  const visible = below.filter(({ path }) => !path.split('/').some(isHidden));
  const isWanted = glob === undefined ? () => true : matcher(glob);
  const wanted = visible.filter(({ path }) => isWanted(path));
  if (wanted.length === 0)
    throw noFiles(
      word,
      glob,
      visible.map(({ path }) => path),
    );
  const list = wanted.map(({ key, path, size, etag }) => {
    const requests = s3File(client, { ...address, key });
    const open = async (reading: ReadingOptions) => {
      const file = await RemoteFile.open(requests, options);
      if (file.version.etag === etag || etag === undefined) return inputOf(file, reading, options);
      file.close();
      throw new UsageError(`${file.name} has changed since it was listed`);
    };
    return { name: s3Url(address, key), id: path, size, version: etag ?? '', open };
  });
  return { list, isFolder: true };
}

/** Opens the file, to learn its size and version. */
async function fileSource(requests: RemoteRequests, options: RemoteOptions): Promise<Source> {
  let opened: RemoteFile | undefined = await RemoteFile.open(requests, options);
  const { name, size } = opened;
  const version = versionOf(opened);
  const open = async (reading: ReadingOptions) => {
    const file = opened ?? (await RemoteFile.open(requests, options));
    opened = undefined;
    if (versionOf(file) === version) return inputOf(file, reading, options);
    file.close();
    throw new UsageError(`${name} has changed since the command began`);
  };
  return { name, id: name, size, version, open };
}

/** Undefined where the server does not say. */
function versionOf({ version: { etag, modifiedMs } }: RemoteFile): string | undefined {
  return etag ?? (modifiedMs === undefined ? undefined : String(modifiedMs));
}

function inputOf(file: RemoteFile, { encoding }: ReadingOptions, { signal }: RemoteOptions): Input {
  const { name, size, gzip } = file;
  let position = 0;
  let compression: Compression | undefined;
  async function* counted(stop: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of file.read(stop)) {
      position += piece.length;
      yield piece;
    }
  }
  const slice = (start: number, end: number) => file.slice(start, end, signal);
  return {
    name,
    size,
    identity: identityOf(file),
    read: (stop) => {
      const stored = counted(stop);
      const bytes = gzip ? decompress(stored, name, () => {}) : stored;
      return decode({ name, encoding, bytes, onCompression: (found) => (compression = found) });
    },
    compression: () => compression,
    position: () => position,
    close: () => file.close(),
    delay: () => file.delay(),
    // The ranges of a compressed transfer are not those of the file.
    ...(file.ranged && !gzip && { slice, readAhead: (groups) => readAhead(slice, groups) }),
  };
}

function identityOf({ size, version: { etag, modifiedMs }, head }: RemoteFile): InputIdentity | undefined {
  if (size === undefined) return undefined;
  const sha256 = createHash('sha256')
    .update(head.subarray(0, 64 * 1024))
    .digest('hex');
  // The servers of one address may differ in the time.
  const time = etag === undefined ? (modifiedMs ?? 0) : 0;
  return { size, mtimeMs: time, head: sha256, ...(etag !== undefined && { etag }) };
}
