/**
 * The secrets that the `amulet` command sends, and to whom. They come from the environment, or from `.env` in the working
 * folder, and that may be anybody's: unpacked, cloned or shared. An address from there gets no secret from elsewhere.
 */
import { readVariables, type Variables } from '../shared/runtime/environment.ts';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { UsageError } from './terminal/exit.ts';

/** What a secret in a header is made of. What else is in it came along by mistake, such as the line below it. */
const SECRET = /^[\x21-\x7e]+$/;

export interface ClientKey {
  value: string | undefined;
  /** Lines that the user is to see. */
  notes: readonly string[];
}

/** The key for the API, if there is one. @throws UsageError, without the key in it */
export function clientKey({ values, warnings }: Variables = read(['AMULET_API_KEY'])): ClientKey {
  const key = values.get('AMULET_API_KEY');
  // What no header can carry would look like a lost connection, and be tried again.
  if (key && !SECRET.test(key.value))
    throw new UsageError('AMULET_API_KEY contains characters that are not allowed in a key');
  // Whoever has left it there could read what is uploaded with it.
  const note = key?.from === '.env' ? ['AMULET_API_KEY is taken from .env in this folder'] : [];
  return { value: key?.value, notes: [...warnings, ...note] };
}

/** A hub of models and who is asking, as the tools of Hugging Face take them from the environment. */
export interface HubAccess {
  /** Without a slash at its end. */
  endpoint: string;
  token: string | undefined;
  /** What to do for a token to be sent. */
  tokenCure: string;
  /** Lines that the user is to see. */
  notes: readonly string[];
}

/** @throws UsageError when they cannot be used; a token is not in the message */
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
