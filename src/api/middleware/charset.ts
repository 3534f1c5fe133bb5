/** Charset: bodies must be UTF-8; any other would be decoded to the wrong texts, or be refused for its bytes. */
import { AppError } from '../../shared/contract/problems.ts';

const CHARSET = /;\s*charset\s*=\s*"?([^\s;"]*)/i;
const UTF8 = /^(?:utf-?8|us-ascii)$/i;

/** @throws AppError `unsupported_media_type` for a `Content-Type` with another charset than UTF-8 or US-ASCII */
export function requireUtf8(contentType: string | undefined): void {
  const charset = CHARSET.exec(contentType ?? '')?.[1];
  if (charset === undefined || UTF8.test(charset)) return;
  throw new AppError('unsupported_media_type', `charset=${charset} is not supported; send the body as UTF-8`);
}
