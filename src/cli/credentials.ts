/**
 * Secrets that the `amulet` command sends, and to which addresses. They come from the environment or from `.env` in the working
 * folder, which may be a stranger's: unpacked, cloned or shared. An address from `.env` is sent no secret from elsewhere.
 */
import { readVariables, type Variables } from '../shared/runtime/environment.ts';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { UsageError } from './terminal/exit.ts';

/** Characters of a secret in a header. Any other got in by mistake, such as with the following line. */
const SECRET = /^[\x21-\x7e]+$/;

export interface ClientKey {
  value: string | undefined;
  /** Notices for the user. */
  notes: readonly string[];
}

/** Reads the API key, if one is set. @throws UsageError that does not contain the key */
export function clientKey({ values, warnings }: Variables = read(['AMULET_API_KEY'])): ClientKey {
  const key = values.get('AMULET_API_KEY');
  // A key that no header can carry would look like a lost connection and be retried.
  if (key && !SECRET.test(key.value))
    throw new UsageError('AMULET_API_KEY contains characters that are not allowed in a key');
  // The author of that file could read everything uploaded with this key.
  const note = key?.from === '.env' ? ['AMULET_API_KEY is taken from .env in this folder'] : [];
  return { value: key?.value, notes: [...warnings, ...note] };
}

/** Address of a model hub and the token for it, from the variables that Hugging Face's tools read. */
export interface HubAccess {
  /** Without a trailing slash. */
  endpoint: string;
  token: string | undefined;
  /** Advice on how to have a token sent. */
  tokenCure: string;
  /** Notices for the user. */
  notes: readonly string[];
}

/** @throws UsageError for unusable values; the message does not contain the token */
export function hubAccess({ values, warnings }: Variables = read(['HF_ENDPOINT', 'HF_TOKEN'])): HubAccess {
  const address = values.get('HF_ENDPOINT');
  const endpoint = (address?.value ?? 'https://huggingface.co').replace(/\/+$/, '');
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  if (url && url.username + url.password !== '')
    throw new UsageError('HF_ENDPOINT must not contain a user name or password; set HF_TOKEN instead');
  if (!/^https?:$/.test(url?.protocol ?? ''))
    throw new UsageError(`HF_ENDPOINT=${endpoint}: must be an http or https URL`);
  const token = values.get('HF_TOKEN');
  if (token && !SECRET.test(token.value))
    throw new UsageError('HF_TOKEN contains characters that are not allowed in a token');
  const access = { endpoint, token: token?.value, tokenCure: 'set HF_TOKEN', notes: warnings };
  if (address?.from !== '.env') return access;
  const note = `HF_ENDPOINT is taken from .env in this folder: ${endpoint}`;
  if (token?.from !== 'environment') return { ...access, notes: [...warnings, note] };
  const tokenCure = 'set HF_ENDPOINT in the environment for HF_TOKEN to be sent';
  const kept =
    'HF_TOKEN from the environment is not sent to it; to send it, set HF_ENDPOINT in the environment, too';
  return { endpoint, token: undefined, tokenCure, notes: [...warnings, note, kept] };
}

function read(names: readonly string[]): Variables {
  try {
    return readVariables(names);
  } catch (error) {
    throw error instanceof StartupError ? new UsageError(error.message) : error;
  }
}
