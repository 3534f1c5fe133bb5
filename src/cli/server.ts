import { HttpClient } from '../client/http.ts';
import { clientKey } from '../shared/environment.ts';

/** The way to a server, with the API key of the environment, if there is one. */
export function connectTo(url: URL): HttpClient {
  const key = clientKey();
  return new HttpClient(url, key === undefined ? {} : { Authorization: `Bearer ${key}` });
}
