/** Errors of the AWS SDK as one line with the cure. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test, vi } from 'vitest';
import { parseS3Address } from '../../src/cli/backfill/remote/s3-address.ts';
import { connectS3 } from '../../src/cli/backfill/remote/s3-client.ts';
import { s3File } from '../../src/cli/backfill/remote/s3-file.ts';
import { s3Problem } from '../../src/cli/backfill/remote/s3-problems.ts';
import { Refusal, RemoteFile } from '../../src/cli/backfill/remote/remote-file.ts';
import { ChangedInputError, EXIT } from '../../src/cli/terminal/exit.ts';
import { ApiError, ConnectionError, isTemporary } from '../../src/client/errors.ts';

const place = { name: 's3://bucket/key', bucket: 'bucket', actions: 's3:GetObject' };
const failure = (name: string, status: number | undefined, more: object = {}) =>
  Object.assign(new Error('the words of the SDK'), {
    name,
    $metadata: { httpStatusCode: status, attempts: 1 },
    ...more,
  });

describe('what nothing but the user can cure', () => {
  test.each<[string, number | undefined, object, RegExp]>([
    ['NoSuchBucket', 404, {}, /there is no bucket bucket .*AWS_ENDPOINT_URL_S3/],
    ['NoSuchKey', 404, {}, /does not exist; an address that ends with a slash/],
    ['AccessDenied', 403, {}, /access denied; the credentials must permit s3:GetObject \(AWS_PROFILE/],
    [
      'CredentialsProviderError',
      undefined,
      {},
      /found no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID/,
    ],
    ['ExpiredToken', 400, {}, /credentials have expired: renew them/],
    ['InvalidAccessKeyId', 403, {}, /access key is unknown there: check AWS_ACCESS_KEY_ID/],
    ['SignatureDoesNotMatch', 403, {}, /secret key is wrong: check AWS_SECRET_ACCESS_KEY/],
    ['RequestTimeTooSkewed', 403, {}, /clock of this machine is wrong/],
    ['InvalidObjectState', 403, {}, /is archived: restore it first/],
    ['PermanentRedirect', 301, {}, /the bucket is in another region: set AWS_REGION=…/],
    [
      'AuthorizationHeaderMalformed',
      400,
      { Region: 'eu-west-1' },
      /is in the region eu-west-1: set AWS_REGION=eu-west-1/,
    ],
    [
      'PermanentRedirect',
      301,
      { $response: { headers: { 'x-amz-bucket-region': 'eu-west-1' } } },
      /is in the region eu-west-1/,
    ],
  ])('%s', (name, status, more, message) => {
    const problem = s3Problem(failure(name, status, more), place);
    expect(problem).toBeInstanceOf(Refusal);
    expect(problem).toMatchObject({ message: expect.stringMatching(message) });
    expect((problem as Error).message).toMatch(/^s3:\/\/bucket\/key/);
    expect((problem as Error).message).not.toContain('\n');
  });

  test('anything else that S3 refuses', () => {
    expect(s3Problem(failure('NewError', 400), place)).toMatchObject({
      message: 's3://bucket/key cannot be used: NewError: the words of the SDK',
    });
  });
});

test('a changed object is one, and a problem is not converted twice', () => {
  const changed = s3Problem(failure('PreconditionFailed', 412), place);
  expect(changed).toBeInstanceOf(ChangedInputError);
  expect(s3Problem(changed, place)).toBe(changed);
});

test.each([
  ['SlowDown', 503, {}],
  ['InternalError', 500, {}],
  ['TooManyRequests', 429, {}],
  ['RequestTimeout', 400, {}],
  ['TimeoutError', undefined, {}],
  ['Error', undefined, { code: 'ECONNRESET' }],
  ['Error', undefined, { code: 'ENOTFOUND' }],
])('what passes is retried: %s %s', (name, status, more) => {
  const problem = s3Problem(failure(name, status, more), place);
  expect([ApiError, ConnectionError].some((kind) => problem instanceof kind)).toBe(true);
  expect(isTemporary(problem)).toBe(true);
});

test('a bug stays one', () => {
  const bug = new TypeError('x is not a function');
  expect(s3Problem(bug, place)).toBe(bug);
});

test('a server that refuses or is broken', async () => {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'a');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'b');
  let code = 'AccessDenied';
  let status = 403;
  const server = createServer((_, response) => {
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const address = parseS3Address(`s3://bucket/key?endpoint=${endpoint}`);
  const client = await connectS3(address);
  const open = () =>
    RemoteFile.open(s3File(client, address), { signal: new AbortController().signal, retryTimeoutMs: 300 });
  try {
    await expect(open()).rejects.toMatchObject({
      exitCode: EXIT.usage,
      message: expect.stringMatching(
        /: access denied; the credentials must permit s3:GetObject, and s3:ListBucket /,
      ),
    });
    [code, status] = ['InternalError', 500];
    await expect(open()).rejects.toMatchObject({
      exitCode: EXIT.temporary,
      message: expect.stringMatching(/ cannot be read: 500 /),
    });
  } finally {
    vi.unstubAllEnvs();
    server.close();
    server.closeAllConnections();
  }
});
