import { HttpClient } from '../client/http.ts';
import { clientKey } from '../shared/environment.ts';
import { StartupError } from '../shared/errors.ts';
import { UsageError } from './exit.ts';

/** The way to a server, with the API key of the environment, if there is one. @throws UsageError */
export function connectTo(url: URL): HttpClient {
  const key = keyOfEnvironment();
  return new HttpClient(url, key === undefined ? {} : { Authorization: `Bearer ${key}` });
}

/** What no header can carry would look like a lost connection, and be tried again. */
function keyOfEnvironment(): string | undefined {
  try {
    return clientKey();
  } catch (error) {
    throw error instanceof StartupError ? new UsageError(error.message) : error;
  }
}
