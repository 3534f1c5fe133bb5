import type { HttpBindings } from '@hono/node-server';
import type { RequestIdVariables } from 'hono/request-id';
import type { ProblemCode } from '../shared/contract/problems.ts';
import type { InFlight } from './load/in-flight.ts';

/** What the server and the middleware leave in the context of a request. */
export interface AppEnv {
  /** Missing when a test calls `app.request()`. */
  Bindings: HttpBindings;
  Variables: RequestIdVariables & {
    /** Name of the API key that made the request; without keys everybody is the same owner. */
    owner: string;
    /** What it may hold, and all requests together. */
    inFlight: InFlight;
    /** Its span's, as shared/runtime/trace-context.ts writes it; only while tracing is on. */
    trace?: string;
    /** `WWW-Authenticate` of a 401, where it is no API key that is missing. */
    challenge?: string;
    /** What it was answered with, if that was a problem. */
    problem?: ProblemCode;
  };
}
