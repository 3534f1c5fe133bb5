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
    'Where batches store texts and results: `file:PATH`, or `s3://bucket/prefix?region=…&endpoint=…&forcePathStyle=true` (credentials as the AWS SDK finds them). Unset: `blobs` in `DATA_DIR`. API and workers need the same value.',
  ),
  MAX_BATCH_BYTES: setting(int(1, 1e15), 100e9, 'Largest input of one batch, in uncompressed bytes.'),
  MAX_STORED_BYTES: setting(
    int(1, 1e15),
    1e12,
    'Largest total input of all stored batches, in uncompressed bytes.',
  ),
  MIN_FREE_DISK_BYTES: setting(
    minFree,
    'auto',
    'Bytes to keep free on the disk of batches, and of the private Redis: with less, new work is refused with 507; results may use half of them. `auto`: 1 GB, or a tenth of a disk below 10 GB. 0: none.',
  ),
  MAX_BATCH_CHUNKS: setting(
    int(1, 1e7),
    1_000_000,
    'Most chunks of a batch: a chunk has `BULK_CHUNK_BYTES`, or 4,096 records if those are fewer bytes. It takes up to 48 bytes of memory while a part is uploaded, and 12 bytes of Redis once it is done (50 and two per label, where all chunks together take less than 8 MB).',
  ),
  MAX_OPEN_BATCHES: setting(
    int(1, 1e6),
    1000,
    'Most batches of one API key that are open for parts at a time.',
  ),
  MAX_BATCH_PARTS: setting(int(1, MAX_PARTS), MAX_PARTS, 'Most parts of a batch.'),
  MAX_OPEN_PARTS: setting(int(1, 1e7), 50_000, 'Most parts of all open batches of one API key together.'),
  MAX_KEPT_BATCHES: setting(
    int(1, 1e7),
    20_000,
    'Most stored batches of one API key, in any state; further ones are refused until some are deleted or expire.',
  ),
  MAX_RECORD_BYTES: setting(
    int(1024, 1e9),
    1_000_000,
    'Longest record of a batch, in bytes; a longer one becomes an error row and is not stored.',
  ),
  MAX_CSV_COLUMNS: setting(
    int(1, 100_000),
    16_384,
    'Most columns of a CSV; the default is the limit of common spreadsheets.',
  ),
  MAX_CSV_HEADER_BYTES: setting(int(16, 1e6), 262_144, 'Longest header of a CSV, in bytes.'),
  BULK_CHUNK_BYTES: setting(
    int(0, 1e8),
    0,
    "Bytes of a batch's input that make one chunk, the unit of work of a worker. 0: about what a model process does in a second.",
  ),
  UPLOAD_IDLE_S: setting(int(1, 3600), 60, 'Seconds without a byte after which an upload is ended.'),
  UPLOAD_MIN_BYTES_PER_S: setting(
    int(0, 1e9),
    10,
    'Lowest average rate of an upload over `UPLOAD_IDLE_S`; a slower one is ended. Low, because slow producers are legitimate; even slower ones upload parts.',
  ),
  MAX_UPLOADS: setting(
    int(1, 1e6),
    32,
    'Most uploads to batches in flight in an API process; shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `uploads_full`. Plan 2 MB of memory for each with `file:`, 20 MB with `s3:`.',
  ),
  UPLOAD_LEASE_S: setting(
    int(1, 3600),
    60,
    'Seconds for which the room that an upload has reserved under the limits above stays reserved after its API process was killed.',
  ),
  MAX_DOWNLOADS: setting(
    int(1, 1e6),
    256,
    'Most batch results that clients read or follow from an API process at a time; shared among keys as `MAX_BODIES_BYTES` is. Beyond it: 503 `downloads_full`.',
  ),
  FOLLOW_HEARTBEAT_S: setting(
    int(1, 50),
    15,
    'Longest silence of a response to `?follow=true`, in seconds; then an empty line is sent.',
  ),
  BATCH_TTL_S: setting(int(1, 365 * DAY_S), 7 * DAY_S, 'Seconds for which a finished batch is kept.'),
  OPEN_BATCH_TTL_S: setting(
    int(1, 30 * DAY_S),
    DAY_S,
    'Seconds for which an open batch waits for its next part.',
  ),
  REVISION_GRACE_S: setting(
    int(1, 30 * DAY_S),
    600,
    'A started batch fails when no worker has had its model revision for this many seconds and workers have another revision.',
  ),
} as const;
