/** Shared by the batch routes: OpenAPI fragments, and the count of uploads in flight. */
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { batchPartSchema, batchSchema } from '../../shared/contract/batches.ts';
import { BATCH_ID } from '../../shared/contract/ids.ts';
import type { Upload } from '../batches/part-uploads.ts';
import type { AppEnv } from '../env.ts';
import { bulkBody } from '../middleware/bulk-body.ts';
import { idInPath, json, problem } from './openapi.ts';

export const batchId = idInPath(BATCH_ID, '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sentiment-multilingual');

export const batchResponse = (description: string) => json(description, batchSchema);
export const partResponse = (description: string) => json(description, batchPartSchema);
/** At least one record: more than line ends and a byte order mark. */
const someRecords = z.string().openapi({ pattern: '[^\\r\\n\\ufeff]' });
export const recordsBody = {
  content: {
    // CSV first, because the Swagger UI at /docs proposes the first format, and would quote JSON Lines.
    'text/csv': {
      schema: someRecords.openapi({
        description: 'The header must have the column that `text_field` names.',
      }),
      example: 'id,text\nr1,utterly charming\nr2,"a tedious, long mess"\n',
    },
    'text/plain': { schema: someRecords, example: 'utterly charming\na tedious mess\n' },
    'application/x-ndjson': {
      schema: someRecords.openapi({
        description: 'One JSON object per line; the first ones must have the field that `text_field` names.',
      }),
      example: '{"id": "r1", "text": "utterly charming"}\n{"id": "r2", "text": "a tedious mess"}\n',
    },
  },
};
export const NOT_FOUND = {
  404: problem('The batch is unknown, removed, or past its retention.'),
};
export const BAD_UPLOAD = {
  400: problem('No body, or invalid or truncated gzip.'),
  408: problem('The upload stalled.'),
  413: problem('The batch is too large.'),
  415: problem(
    'Neither `Content-Type` nor `format` names a known format, or `Content-Encoding` is not gzip.',
  ),
  422: problem('The query or the header of the file is not valid.'),
  429: problem(
    'The key has too many batches or parts, the storage for batches is used up, or Redis is nearly full.',
  ),
  507: problem('The disk of the batches or of Redis is nearly full.'),
};

/**
 * Runs `store` with the upload in the body, and counts the upload as in flight meanwhile.
 * @throws AppError `uploads_full`; those of bulkBody() and of `store`
 */
export async function uploading<T>(c: Context<AppEnv>, store: (upload: Upload) => Promise<T>): Promise<T> {
  const lease = c.get('inFlight').uploads.acquire(c.get('owner'), 1);
  try {
    return await store(bulkBody(c));
  } finally {
    lease.release();
  }
}
