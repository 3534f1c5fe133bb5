/** Upload bodies: their stream, their format by `Content-Type`, and their compression. */
import type { Context } from 'hono';
import { headerTooLong } from '../../shared/bulk/csv.ts';
import type { BatchSpec } from '../../shared/contract/batches.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { Upload } from '../batches/part-uploads.ts';
import type { AppEnv } from '../env.ts';
import { requireUtf8 } from './charset.ts';
import { incomingPieces } from './incoming-pieces.ts';
import { readBody } from './read-body.ts';

interface BulkType {
  format: BatchSpec['format'];
  delimiter?: string;
}

const TYPES: Readonly<Record<string, BulkType>> = {
  'application/x-ndjson': { format: 'ndjson' },
  'application/ndjson': { format: 'ndjson' },
  'application/jsonl': { format: 'ndjson' },
  'application/x-jsonlines': { format: 'ndjson' },
  'application/jsonlines': { format: 'ndjson' },
  'text/csv': { format: 'csv' },
  'text/tab-separated-values': { format: 'csv', delimiter: '\t' },
  'text/plain': { format: 'lines' },
};

/** Name of a media type, without its parameters. */
function mediaType(contentType: string | undefined): string {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

/** @throws AppError `unsupported_media_type` for a type that names no format */
export function bulkType(contentType: string | undefined): BulkType {
  const name = mediaType(contentType);
  const type = TYPES[name];
  if (type) return type;
  throw new AppError(
    'unsupported_media_type',
    `Content-Type ${name === '' ? 'is missing' : `${name} names no format`}: add ?format=ndjson, csv or lines, or send one of ${Object.keys(TYPES).join(', ')}`,
  );
}

/**
 * Rejects CSV or TSV as the type of a request that opens a batch without `format`: the type is that of a header in the body, and the
 * batch would be read as JSON Lines. Other types pass: HTTP clients send `text/plain` on their own.
 * @throws AppError `invalid_request`
 */
export function requireNamedFormat(contentType: string | undefined): void {
  const name = mediaType(contentType);
  const type = TYPES[name];
  if (type?.format !== 'csv') return;
  const query = type.delimiter === undefined ? 'format=csv' : 'format=csv&delimiter=tab';
  throw new AppError(
    'invalid_request',
    `Content-Type ${name} does not name the format of an upload in parts: add &${query}`,
    { errors: [{ path: 'format', message: 'missing' }] },
  );
}

/** CR CR LF. */
const MAX_ENDING_BYTES = 3;

/**
 * The header of a CSV, sent as the body of a request that opens a batch, because a URL has no room for a long one.
 * @param timeoutS seconds within which the body must arrive
 * @returns undefined without a body, or with a body of another type
 * @throws AppError `unsupported_media_type`, `invalid_request`, `body_timeout`, `bodies_full`
 */
export async function headerBody(
  c: Context<AppEnv>,
  maxBytes: number,
  timeoutS: number,
): Promise<string | undefined> {
  const type = mediaType(c.req.header('content-type'));
  const hasBody =
    c.req.header('transfer-encoding') !== undefined || Number(c.req.header('content-length')) > 0;
  if (TYPES[type]?.format !== 'csv' || !hasBody) return undefined;
  if (bulkBody(c).gzip)
    throw new AppError('unsupported_media_type', 'send the header of the CSV without Content-Encoding');
  const lease = c.get('inFlight').bodyBytes.acquire(c.get('owner'));
  const tooLarge = () => headerTooLong({ bytes: maxBytes });
  try {
    const bytes = await readBody(c, { maxBytes: maxBytes + MAX_ENDING_BYTES, tooLarge, timeoutS, lease });
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes).replace(/\r*\n?$/, '');
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new AppError('invalid_request', 'the header of the CSV is not valid UTF-8');
  } finally {
    lease.release();
  }
}

/** @throws AppError `unsupported_media_type` for another charset than UTF-8 or another encoding than gzip; `empty_body` */
export function bulkBody(c: Context<AppEnv>): Upload {
  requireUtf8(c.req.header('content-type'));
  const encoding = (c.req.header('content-encoding') ?? 'identity').trim().toLowerCase();
  if (encoding !== 'gzip' && encoding !== 'x-gzip' && encoding !== 'identity') {
    throw new AppError(
      'unsupported_media_type',
      `Content-Encoding: ${encoding} is not supported; send gzip, or none`,
    );
  }
  // Node's own stream: turning it into a web stream and back costs more than cutting it into records.
  const incoming = (c.env as Partial<AppEnv['Bindings']> | undefined)?.incoming;
  const body: AsyncIterable<Uint8Array> | null = incoming ? incomingPieces(incoming) : c.req.raw.body;
  if (!body || c.req.header('content-length') === '0') {
    throw new AppError('empty_body', 'send the records as the request body');
  }
  const gzip = encoding !== 'identity';
  const length = c.req.header('content-length');
  return { body, gzip, expectedBytes: gzip || length === undefined ? undefined : Number(length) };
}
