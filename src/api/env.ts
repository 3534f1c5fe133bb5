import type { HttpBindings } from '@hono/node-server';
import type { RequestIdVariables } from 'hono/request-id';

/** What the server and the middleware leave in the context of a request. */
export interface AppEnv {
  /** Missing when a test calls `app.request()`. */
  Bindings: HttpBindings;
  Variables: RequestIdVariables & {
    /** Name of the API key that made the request; without keys everybody is the same owner. */
    owner: string;
  };
}
