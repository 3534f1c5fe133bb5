/** Errors of the AWS SDK as one line with the cure, without credentials; or as errors of the connection, which are retried. */
import { ApiError, ConnectionError } from '../../../client/errors.ts';
import { connectionError } from '../../../client/exchange.ts';
import { describeS3Error, type S3Failure } from '../../../shared/blobs/s3-errors.ts';
import { toError } from '../../../shared/runtime/to-error.ts';
import { ChangedInputError } from '../../terminal/exit.ts';
import { Refusal } from './remote-file.ts';

export interface S3Place {
  /** The address, for messages. */
  name: string;
  bucket: string;
  /** What the credentials must permit, for AccessDenied. */
  actions: string;
}

type Failure = S3Failure & { $response?: { headers?: Record<string, string | undefined> }; Region?: string };

const TEMPORARY =
  /^(?:SlowDown|Throttling|ThrottlingException|RequestTimeout|ServiceUnavailable|InternalError)$/;

/** @returns a Refusal, ChangedInputError, ApiError or ConnectionError; another error as it is */
export function s3Problem(thrown: unknown, place: S3Place): unknown {
  if (thrown instanceof Refusal || thrown instanceof ChangedInputError) return thrown;
  const error = toError(thrown) as Failure;
  const status = error.$metadata?.httpStatusCode;
  const cure = cureOf(error, place);
  if (cure !== undefined) return new Refusal(cure);
  if (error.name === 'PreconditionFailed' || status === 412) {
    return new ChangedInputError(`${place.name} has changed while it was read: its ETag is another one`);
  }
  if (status !== undefined && (status >= 500 || status === 429 || TEMPORARY.test(error.name)))
    return new ApiError(Math.max(status, 429), { title: describeS3Error(error) });
  if (status === undefined && error.name === 'TimeoutError')
    return new ConnectionError('ETIMEDOUT', `${place.name}: no answer`, error);
  if (status === undefined && error.code !== undefined) {
    const { code, message } = connectionError(error.code, error);
    return new ConnectionError(code, message || error.code, error);
  }
  if (status === undefined) return error;
  return new Refusal(`${place.name} cannot be used: ${describeS3Error(error)}`);
}

function cureOf(error: Failure, { name, bucket, actions }: S3Place): string | undefined {
  const isRead = actions.includes('GetObject');
  switch (error.name) {
    case 'NoSuchBucket':
      return `${name}: there is no bucket ${bucket} (for another server than AWS, set AWS_ENDPOINT_URL_S3)`;
    case 'NoSuchKey':
      return `${name} does not exist; an address that ends with a slash names all objects below it`;
    case 'NotFound':
      return `${name} does not exist`;
    case 'AccessDenied':
    case 'Forbidden':
    case 'AllAccessDisabled':
      return `${name}: access denied; the credentials must permit ${actions} (AWS_PROFILE chooses others)`;
    case 'CredentialsProviderError':
    case 'TokenProviderError':
      return `${name}: the AWS SDK found no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY${isRead ? '; a public object can also be read by its https:// address' : ''}`;
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
      return `${name}: the AWS credentials have expired: renew them, for example with aws sso login`;
    case 'InvalidAccessKeyId':
    case 'InvalidToken':
      return `${name}: the access key is unknown there: check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN and AWS_PROFILE`;
    case 'SignatureDoesNotMatch':
      return `${name}: the secret key is wrong: check AWS_SECRET_ACCESS_KEY and AWS_PROFILE`;
    case 'RequestTimeTooSkewed':
      return `${name}: the clock of this machine is wrong, so that signatures are not valid: set it`;
    case 'InvalidObjectState':
      return `${name} is archived: restore it first (aws s3api restore-object)`;
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed': {
      const region = error.Region ?? error.$response?.headers?.['x-amz-bucket-region'];
      const is = region === undefined ? 'is in another region' : `is in the region ${region}`;
      return `${name}: the bucket ${is}: set AWS_REGION=${region ?? '…'}`;
    }
    default:
      return undefined;
  }
}
