/** What the batch routes share: OpenAPI fragments, and the count of uploads in flight. */
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { batchPartSchema, batchSchema } from '../../shared/contract/batches.ts';
import { BATCH_ID } from '../../shared/contract/ids.ts';
import type { Upload } from '../batches/part-uploads.ts';
import type { AppEnv } from '../env.ts';
import { bulkBody } from '../middleware/bulk-body.ts';
import { idInPath, json, problem } from './openapi.ts';

export const batchId = idInPath(BATCH_ID, '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sst2-minilm');

export const batchResponse = (description: string) => json(description, batchSchema);
export const partResponse = (description: string) => json(description, batchPartSchema);
/** At least one record: something other than line ends and a byte order mark. */
const someRecords = z.string().openapi({ pattern: '[^\\r\\n\\ufeff]' });
export const recordsBody = {
  content: {
    // CSV first: the Swagger UI of /docs fills that in, while it would put JSON Lines into quotes.
    'text/csv': {
      schema: someRecords.openapi({ description: 'Its header names the column `text_field`.' }),
      example: 'id,text\nr1,utterly charming\nr2,"a tedious, long mess"\n',
    },
    'text/plain': { schema: someRecords, example: 'utterly charming\na tedious mess\n' },
    'application/x-ndjson': {
      schema: someRecords.openapi({
        description: 'A JSON object a line, the first ones with the field `text_field`.',
      }),
      example: '{"id": "r1", "text": "utterly charming"}\n{"id": "r2", "text": "a tedious mess"}\n',
    },
  },
};
export const NOT_FOUND = {
  404: problem('Unknown, removed, or past its retention.'),
};
export const BAD_UPLOAD = {
  400: problem('No body, or gzip that is none or breaks off.'),
  408: problem('The upload stalled.'),
  413: problem('The batch is too large.'),
  415: problem('Neither `Content-Type` nor `format` says what it is, or another encoding than gzip.'),
  422: problem('The query or the header of the file is not valid.'),
  429: problem(
    'You have too many batches or parts, all together take too much space, or Redis has too little left.',
  ),
  507: problem('The disk of batches or of Redis has too little room.'),
};

/**
 * Runs `store` with the upload in the body, which counts as one in flight until it ends.
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
