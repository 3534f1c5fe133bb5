/** The types of the HTTP application, and of the context of a request: what the server and the middleware put into it. */
import type { HttpBindings } from '@hono/node-server';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { ProblemCode } from '../shared/contract/problems.ts';
import type { InFlight } from './load/in-flight.ts';

export interface AppEnv {
  /** Missing when a test calls `app.request()`. */
  Bindings: HttpBindings;
  Variables: {
    /** Names the request in its response and in the logs. */
    requestId: string;
    /** Name of the API key that made the request; without keys, all callers are one owner. */
    owner: string;
    /** Limits for what all requests hold together. */
    inFlight: InFlight;
    /** The JSON body, before its schema has checked it. */
    body?: unknown;
    /** Trace of the request's span, as shared/runtime/trace-context.ts writes it; only while tracing is on. */
    trace?: string;
    /** `WWW-Authenticate` of a 401 that asks for something other than an API key. */
    challenge?: string;
    /** Code of the problem that the request was answered with, if any. */
    problem?: ProblemCode;
  };
}

/** The application, which routes register themselves on. */
export type App = OpenAPIHono<AppEnv>;
