/** Parses an address of S3: `s3://bucket/key`, with the parameters of BLOB_URL at its end where a server is not AWS's. */
import { CliError, EXIT, UsageError } from '../../terminal/exit.ts';

export interface S3Address {
  bucket: string;
  /** A key, or a prefix: empty, or ending with a slash. */
  key: string;
  region: string | undefined;
  endpoint: string | undefined;
  forcePathStyle: boolean | undefined;
  /** The parameters as given, with the question mark. */
  parameters: string;
}

/** Only these, so that a key may contain a question mark. */
export const S3_PARAMETERS = /\?(?:(?:region|endpoint|forcePathStyle)=[^&?]*(?:&|$))+$/;
/** S3's limit. */
const MAX_KEY_BYTES = 1024;

/** @throws UsageError */
export function parseS3Address(word: string): S3Address {
  const wrong = (why: string): never => {
    throw new UsageError(`${word}: ${why}`);
  };
  const rest = word.slice('s3://'.length);
  const [parameters = ''] = S3_PARAMETERS.exec(rest) ?? [];
  const place = rest.slice(0, rest.length - parameters.length);
  const slash = place.indexOf('/');
  const bucket = slash === -1 ? place : place.slice(0, slash);
  const key = slash === -1 ? '' : place.slice(slash + 1);
  if (bucket.includes('@')) {
    wrong(
      'must not hold credentials: the AWS SDK finds them in the environment, a profile or the instance role',
    );
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/i.test(bucket))
    wrong('there must be the name of a bucket after s3://');
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) wrong(`a key has at most ${MAX_KEY_BYTES} bytes`);
  if (!key.isWellFormed()) wrong('the key is not valid Unicode');
  const given = new URLSearchParams(parameters);
  const endpoint = given.get('endpoint') ?? undefined;
  if (endpoint !== undefined) {
    const url = URL.parse(endpoint);
    if (!url || !/^https?:$/.test(url.protocol)) wrong('endpoint must be an http or https address');
    else if (url.username + url.password !== '') wrong('endpoint must not hold credentials');
  }
  const style = given.get('forcePathStyle') ?? undefined;
  if (style !== undefined && style !== 'true' && style !== 'false')
    wrong('forcePathStyle must be true or false');
  return {
    bucket,
    key,
    region: given.get('region') ?? undefined,
    endpoint,
    forcePathStyle: style === undefined ? undefined : style === 'true',
    parameters,
  };
}

/** The address of another key in the same place. */
export function s3Url({ bucket, parameters }: S3Address, key: string): string {
  return `s3://${bucket}/${key}${parameters}`;
}

/** The published package does not depend on the SDK, which is larger than it. */
export function throwMissingPackage(error: unknown): never {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
  throw new CliError(EXIT.failed, 's3:// needs one more package: npm install @aws-sdk/client-s3');
}
