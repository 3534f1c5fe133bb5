/** Settings of batches: where their data lies, limits, uploads and retention. */
import { MAX_PARTS } from '../../contract/batches.ts';
import { setting, optionalText, int, minFree, DAY_S } from './schemas.ts';

export const BATCHES = {
  BLOB_URL: setting(
    optionalText.refine(
      (url) => url === undefined || /^(file:.|s3:\/\/.)/.test(url),
      'must begin with file: or s3://',
    ),
    '',
    'Where texts and results of batches are stored: `file:PATH`, or `s3://bucket/prefix?region=…&endpoint=…&forcePathStyle=true` (credentials as the AWS SDK finds them). Unset: `blobs` in `DATA_DIR`. API and workers need the same.',
  ),
  MAX_BATCH_BYTES: setting(int(1, 1e15), 100e9, 'Largest input of one batch, uncompressed.'),
  MAX_STORED_BYTES: setting(
    int(1, 1e15),
    1e12,
    'Largest input of all batches together that are kept, uncompressed.',
  ),
  MIN_FREE_DISK_BYTES: setting(
    minFree,
    'auto',
    'Room to keep free on the disk of batches, and of the private Redis: with less, new work is answered with 507; results may use half of it. `auto`: 1 GB, or a tenth of a disk below 10 GB. 0: none.',
  ),
  MAX_BATCH_CHUNKS: setting(
    int(1, 1e7),
    1_000_000,
    'Most pieces of work of a batch: a piece has `BULK_CHUNK_BYTES`, or 4,096 records if those are less. Each takes up to 48 bytes of memory while a part is uploaded, and 12 bytes of Redis once it is done.',
  ),
  MAX_OPEN_BATCHES: setting(int(1, 1e6), 1000, 'Batches of one API key that are open for parts at a time.'),
  MAX_BATCH_PARTS: setting(int(1, MAX_PARTS), MAX_PARTS, 'Most parts of a batch.'),
  MAX_OPEN_PARTS: setting(int(1, 1e7), 50_000, 'Most parts of all open batches of one API key.'),
  MAX_KEPT_BATCHES: setting(
    int(1, 1e7),
    20_000,
    'Batches of one API key that are kept, in any state; more are refused until some are deleted or expire.',
  ),
  MAX_RECORD_BYTES: setting(
    int(1024, 1e9),
    1_000_000,
    'A longer record of a batch becomes an error row, and is not kept.',
  ),
  MAX_CSV_COLUMNS: setting(
    int(1, 100_000),
    16_384,
    'Most columns of a CSV; the default is what a spreadsheet can have.',
  ),
  MAX_CSV_HEADER_BYTES: setting(int(16, 1e6), 262_144, 'Longest header of a CSV.'),
  BULK_CHUNK_BYTES: setting(
    int(0, 1e8),
    0,
    "Bytes of a batch's input that make one piece of work; 0 = about what a model process does in a second.",
  ),
  UPLOAD_IDLE_S: setting(int(1, 3600), 60, 'An upload that sends nothing for this many seconds is ended.'),
  UPLOAD_MIN_BYTES_PER_S: setting(
    int(0, 1e9),
    10,
    'So is one that sends less than this on average over `UPLOAD_IDLE_S`. Low, because slow producers are legitimate; slower ones upload parts.',
  ),
  MAX_UPLOADS: setting(
    int(1, 1e6),
    32,
    'Uploads to batches in flight in an API process, shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `uploads_full`. Plan 2 MB of memory for each with `file:`, 20 MB with `s3:`.',
  ),
  UPLOAD_LEASE_S: setting(
    int(1, 3600),
    60,
    'How long room that an upload has reserved under the limits above outlives an API process that was killed, in seconds.',
  ),
  MAX_DOWNLOADS: setting(
    int(1, 1e6),
    256,
    'Results of batches that are read or followed in an API process at a time; shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `downloads_full`.',
  ),
  FOLLOW_HEARTBEAT_S: setting(
    int(1, 50),
    15,
    'Longest silence of a response to `?follow=true`, in seconds; an empty line ends it.',
  ),
  BATCH_TTL_S: setting(int(1, 365 * DAY_S), 7 * DAY_S, 'How long a finished batch is kept, in seconds.'),
  OPEN_BATCH_TTL_S: setting(
    int(1, 30 * DAY_S),
    DAY_S,
    'How long a batch waits for its next part, in seconds.',
  ),
  REVISION_GRACE_S: setting(
    int(1, 30 * DAY_S),
    600,
    'A batch begun with weights that no worker has had for this many seconds fails, if workers have other weights.',
  ),
} as const;
