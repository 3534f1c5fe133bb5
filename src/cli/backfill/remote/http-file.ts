/** Requests of a file at an http or https address, in ranges where the server can send them. */
import { STATUS_CODES } from 'node:http';
import { ApiError, isTemporary } from '../../../client/errors.ts';
import { retryAfterS } from '../../../client/exchange.ts';
import { ChangedInputError } from '../../terminal/exit.ts';
import { parseHttpAddress, withoutSecrets } from './addresses.ts';
import { httpGet, type HttpAnswer } from './http-get.ts';
import {
  noBytes,
  Refusal,
  type Answer,
  type ByteRange,
  type RemoteRequests,
  type Version,
} from './remote-file.ts';

/** @throws UsageError for an invalid address */
export function httpFile(word: string): RemoteRequests {
  const address = parseHttpAddress(word);
  const name = withoutSecrets(word);
  return {
    name,
    get: async ({ start, end }, version, signal) => {
      const headers = {
        // A range of a compressed transfer would be one of other bytes.
        'Accept-Encoding': 'identity',
        Range: `bytes=${start}-${end === undefined ? '' : end - 1}`,
        ...ifRange(version),
      };
      const answer = await httpGet(address, headers, signal);
      try {
        return read(answer, { start, end }, name);
      } catch (error) {
        answer.close();
        throw error;
      }
    },
  };
}

/** Has the server send the whole file in place of a range if it has changed. */
function ifRange(version: Version | undefined): Record<string, string> {
  const { etag, modifiedMs } = version ?? {};
  if (etag !== undefined) return etag.startsWith('W/') ? {} : { 'If-Range': etag };
  return modifiedMs === undefined ? {} : { 'If-Range': new Date(modifiedMs).toUTCString() };
}

/** @throws Refusal, ApiError or ChangedInputError for an answer without the file */
function read({ status, headers, body, close }: HttpAnswer, { start }: ByteRange, name: string): Answer {
  const version = { etag: headers.etag, modifiedMs: timeOf(headers['last-modified']) };
  const range = headers['content-range'] ?? '';
  if (status === 200) {
    const size = headers['content-length'] === undefined ? undefined : Number(headers['content-length']);
    return { ranged: false, from: 0, size, version, gzip: isGzip(headers, name), body, close };
  }
  if (status === 206) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
    if (total === undefined) throw new Refusal(`${name}: the server sent a range without saying which`);
    const size = total === '*' ? undefined : Number(total);
    return { ranged: true, from: Number(from), size, version, gzip: isGzip(headers, name), body, close };
  }
  if (status === 416) {
    // An empty file has no ranges.
    if (start === 0) return { ranged: true, from: 0, size: 0, version, gzip: false, body: noBytes(), close };
    throw new ChangedInputError(`${name} has changed while it was read: it ends before byte ${start}`);
  }
  throw refusal(status, headers['retry-after'], name);
}

function timeOf(header: string | undefined): number | undefined {
  const time = Date.parse(header ?? '');
  return Number.isNaN(time) ? undefined : time;
}

/** @throws Refusal for another compression */
function isGzip(headers: HttpAnswer['headers'], name: string): boolean {
  const encoding = (headers['content-encoding'] ?? '').trim().toLowerCase();
  if (/^(?:|identity|aws-chunked)$/.test(encoding)) return false;
  if (/^(?:x-)?gzip$/.test(encoding)) return true;
  throw new Refusal(
    `${name}: the server sends it compressed (Content-Encoding: ${encoding.slice(0, 50)}), although identity was requested: download the file, and name the copy`,
  );
}

function refusal(status: number, retryAfter: string | undefined, name: string): Error {
  const failure = new ApiError(status, { title: STATUS_CODES[status] }, retryAfterS(retryAfter));
  if (isTemporary(failure)) return failure;
  switch (status) {
    case 401:
      return new Refusal(
        name.includes('***@')
          ? `${name}: the server does not accept this user name and password`
          : `${name}: the server wants a user name and a password: https://USER:PASSWORD@HOST/…`,
      );
    case 403:
      return new Refusal(`${name}: access denied; if it is a signed address, it may have expired`);
    case 404:
    case 410:
      return new Refusal(`${name} does not exist`);
    default:
      return new Refusal(`${name} cannot be read: the server answered ${status} ${failure.title}`);
  }
}
