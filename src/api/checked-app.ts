/**
 * The application that routes register on: describes each route in the OpenAPI document, and checks the input of its requests in
 * one synchronous step. The library's checks are a chain of four middlewares, which copy all headers and run zod in its
 * asynchronous mode, without the code that zod compiles for a schema.
 */
import { OpenAPIHono, type RouteConfig } from '@hono/zod-openapi';
import type { Context, Handler, MiddlewareHandler, ValidationTargets } from 'hono';
import type { z } from 'zod';
import type { AppEnv } from './env.ts';
import { invalidInput } from './middleware/problems.ts';

/** A part of a request, and the schema that it must match. */
interface CheckedPart {
  name: keyof ValidationTargets;
  schema: z.ZodType;
  read: (c: Context<AppEnv>) => unknown;
}

type Route = RouteConfig & { middleware?: MiddlewareHandler<AppEnv>[] };

export class CheckedApp extends OpenAPIHono<AppEnv> {
  override openapi = ((route: Route, handler: Handler<AppEnv>) => {
    const { middleware = [], ...described } = route;
    this.openAPIRegistry.registerPath(described);
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1');
    const check = inputCheck(route.request);
    this.on([route.method], [path], ...middleware, (c, next) => {
      check(c);
      return handler(c, next) as Response | Promise<Response>;
    });
    return this;
  }) as unknown as OpenAPIHono<AppEnv>['openapi'];
}

/** @returns throws AppError `invalid_request` for the first part that its schema refuses */
function inputCheck(request: RouteConfig['request']): (c: Context<AppEnv>) => void {
  const parts = checkedParts(request ?? {});
  return (c) => {
    for (const { name, schema, read } of parts) {
      const result = schema.safeParse(read(c));
      if (!result.success) throw invalidInput(result.error.issues);
      c.req.addValidatedData(name, result.data as object);
    }
  };
}

function checkedParts({ query, params, headers, body }: NonNullable<RouteConfig['request']>): CheckedPart[] {
  const headerNames = headers && 'shape' in headers ? Object.keys(headers.shape) : [];
  const json = body?.content['application/json'];
  const all: (Omit<CheckedPart, 'schema'> & { schema: unknown })[] = [
    { name: 'query', schema: query, read: queryOf },
    { name: 'param', schema: params, read: (c) => c.req.param() },
    {
      name: 'header',
      schema: headers,
      read: (c) => Object.fromEntries(headerNames.map((name) => [name, c.req.header(name)])),
    },
    { name: 'json', schema: json && 'schema' in json ? json.schema : undefined, read: (c) => c.get('body') },
  ];
  return all.filter((part): part is CheckedPart => part.schema !== undefined);
}

/** The parameters of the query; those that are given more than once as a list. */
function queryOf({ req }: Context<AppEnv>): Record<string, string | string[]> {
  if (!req.url.includes('?')) return {};
  return Object.fromEntries(
    Object.entries(req.queries()).map(([name, values]) => [
      name,
      values.length === 1 ? (values[0] as string) : values,
    ]),
  );
}
