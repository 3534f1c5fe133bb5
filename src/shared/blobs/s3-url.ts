/** Parses a BLOB_URL that begins with `s3://`. */
import { StartupError } from '../runtime/startup-error.ts';
import { isKey } from './keys.ts';

export interface S3Options {
  bucket: string;
  /** Precedes every key: '' or a path that ends with a slash. */
  prefix: string;
  region: string | undefined;
  endpoint: string | undefined;
  forcePathStyle: boolean;
}

const S3_PARAMETERS = new Set(['region', 'endpoint', 'forcePathStyle']);

/** @throws StartupError without the URL, which may hold credentials by mistake */
export function parseS3Url(text: string): S3Options {
  const wrong = (why: string): never => {
    throw new StartupError(`BLOB_URL: ${why}`);
  };
  const url = URL.parse(text) ?? wrong('not a URL');
  if (url.username !== '' || url.password !== '') {
    wrong(
      'must not hold credentials: the AWS SDK finds them in the environment, a profile or the instance role',
    );
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(url.hostname)) wrong('not a bucket name after s3://');
  const prefix = url.pathname.replace(/^\//, '').replace(/\/$/, '');
  if (prefix !== '' && (!isKey(prefix) || prefix.length > 200)) wrong('not a prefix after the bucket');
  for (const name of url.searchParams.keys()) {
    if (!S3_PARAMETERS.has(name)) wrong(`unknown parameter ${JSON.stringify(name)}`);
  }
  const endpoint = url.searchParams.get('endpoint') ?? undefined;
  if (endpoint !== undefined) {
    const parsed = URL.parse(endpoint);
    if (parsed === null || !/^https?:$/.test(parsed.protocol)) wrong('endpoint must be an http(s) URL');
    else if (parsed.username !== '' || parsed.password !== '') wrong('endpoint must not hold credentials');
  }
  const style = url.searchParams.get('forcePathStyle') ?? 'false';
  if (style !== 'true' && style !== 'false') wrong('forcePathStyle must be true or false');
  return {
    bucket: url.hostname,
    prefix: prefix === '' ? '' : `${prefix}/`,
    // Servers other than AWS's ignore the region, but the SDK needs one.
    region: url.searchParams.get('region') ?? (endpoint === undefined ? undefined : 'us-east-1'),
    endpoint,
    forcePathStyle: style === 'true',
  };
}
