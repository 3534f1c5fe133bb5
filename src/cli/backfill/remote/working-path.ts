/** Where the files of an unfinished run lie whose output is an object of S3: in the working folder. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { protocolOf } from './addresses.ts';
import { S3_PARAMETERS } from './s3-address.ts';

/** Of a file name; the ends that follow take some of the 255 bytes. */
const MAX_CHARS = 100;

/**
 * The path that the names of these files begin with: that of the output itself, if it is a file. Of an object it is the name, with a hash
 * of the address, which tells objects with one name apart: `labels.csv.s3-1a2b3c4d`.
 */
export function workingPath(out: string): string {
  if (protocolOf(out) !== 's3') return out;
  const name = path.posix.basename(out.replace(S3_PARAMETERS, ''));
  const hash = createHash('sha256').update(out).digest('hex').slice(0, 8);
  return `${name.replaceAll(/[^\w.-]/g, '_').slice(0, MAX_CHARS)}.s3-${hash}`;
}
