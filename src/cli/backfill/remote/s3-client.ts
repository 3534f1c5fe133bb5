/** Connects to S3 or to a server that speaks its protocol. Credentials, profile and region are those of the AWS SDK. */
import * as http from 'node:http';
import * as https from 'node:https';
import { S3Client } from '@aws-sdk/client-s3';
import { hasS3Endpoint } from '../../../shared/runtime/environment.ts';
import type { S3Address } from './s3-address.ts';

/** Attempts of one request, by the SDK, with short pauses; the reader of a file makes longer ones. */
const REQUEST_ATTEMPTS = 4;
/** Knows the region of each bucket, and says it. */
const DEFAULT_REGION = 'us-east-1';

/** Makes no request yet. */
export async function connectS3({ region, endpoint, forcePathStyle }: S3Address): Promise<S3Client> {
  const options = {
    ...(region !== undefined && { region }),
    ...(endpoint !== undefined && { endpoint }),
    // The buckets of other servers seldom have host names of their own.
    forcePathStyle: forcePathStyle ?? (endpoint !== undefined || hasS3Endpoint()),
    followRegionRedirects: true,
    maxAttempts: REQUEST_ATTEMPTS,
    // The SDK checks a download as a whole, which a range cannot pass.
    responseChecksumValidation: 'WHEN_REQUIRED' as const,
    requestHandler: {
      connectionTimeout: 5000,
      socketTimeout: 60_000,
      // These use a proxy where NODE_USE_ENV_PROXY=1 asks for it; those that the SDK makes do not.
      httpAgent: http.globalAgent,
      httpsAgent: https.globalAgent,
    },
  };
  const client = new S3Client(options);
  try {
    await client.config.region();
    return client;
  } catch {
    return new S3Client({ ...options, region: DEFAULT_REGION });
  }
}
