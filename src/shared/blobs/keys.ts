/** Keys of blobs: one rule that suits both paths in a folder and names in a bucket. */
import { BlobError } from './blob-store.ts';

const SEGMENT = /^(?!\.\.?$)[A-Za-z0-9._=-]{1,200}$/;
/** S3 takes 1024 bytes, with the URL's prefix. */
const MAX_KEY_CHARS = 800;
/**
 * Back ends keep files that are not blobs under names with a tilde, which no key can have: a key can neither reach nor clash
 * with them, and `list` skips names that are not keys.
 */
const PROBE = /^~check\/[0-9a-f-]{36}$/;

/** Segments of letters, digits, `.`, `_`, `=` and `-`, with slashes between them; none is `.` or `..`. */
export const isKey = (key: string): boolean =>
  key.length <= MAX_KEY_CHARS && key.split('/').every((segment) => SEGMENT.test(segment));

export const isSegment = (name: string): boolean => SEGMENT.test(name);

/** @throws BlobError `blob_key_invalid` */
export function assertKey(key: string): void {
  if (!isKey(key) && !PROBE.test(key)) {
    throw new BlobError('blob_key_invalid', `not a blob key: ${JSON.stringify(key.slice(0, 200))}`);
  }
}

/** @throws BlobError `blob_key_invalid` unless some key could begin with `prefix` */
export function assertPrefix(prefix: string): void {
  // The prefix may end within a segment or after a slash: an x completes it.
  if (!isKey(`${prefix}x`)) {
    throw new BlobError('blob_key_invalid', `not a prefix of blob keys: ${JSON.stringify(prefix)}`);
  }
}
