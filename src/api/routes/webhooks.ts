/** Deliveries of webhooks, and their secrets; docs/webhooks.md describes them from outside. */
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import { batchEventSchema, jobEventSchema } from '../../shared/contract/webhook-events.ts';
import { deliverySchema, deliveryStatusSchema } from '../../shared/contract/webhooks.ts';
import { EVENT_ID } from '../../shared/contract/ids.ts';
import type { Secret } from '../../shared/store/deliveries/secrets.ts';
import type { AppEnv } from '../env.ts';
import { onInvalid } from '../middleware/problems.ts';
import type { WebhookService } from '../webhooks.ts';
import { DEFAULT_PAGE, idInPath, json, NO_QUERY, PAGE, pageQuery, problem, UNAVAILABLE } from './openapi.ts';

const params = z.object({ id: idInPath(EVENT_ID, 'evt_019aaf3c5e7b9d0e5f1a2b3c4d5e6f70') });
const NOT_FOUND = { 404: problem('Unknown, or past its retention.') };

const secretsSchema = z
  .object({
    secrets: z.array(
      z.object({
        secret: z.string().meta({ example: 'whsec_…' }),
        valid_until: z.iso.datetime().nullable().meta({ description: 'null: the current one.' }),
      }),
    ),
  })
  .meta({ id: 'WebhookSecrets', description: 'Every webhook is signed with all of them.' });

export function webhookRoutes(webhooks: WebhookService): OpenAPIHono<AppEnv> {
  const app = new OpenAPIHono<AppEnv>({ defaultHook: onInvalid });

  const list = createRoute({
    method: 'get',
    path: '/v1/webhooks',
    summary: 'List your deliveries, newest first',
    tags: ['Webhooks'],
    request: {
      query: pageQuery(EVENT_ID, deliveryStatusSchema),
    },
    responses: {
      200: json(PAGE, z.object({ deliveries: z.array(deliverySchema), next: z.string().nullable() })),
      422: problem('The query is not valid.'),
      ...UNAVAILABLE,
    },
  });
  app.openapi(list, async (c) => {
    const { limit = DEFAULT_PAGE, after, ...filter } = c.req.valid('query');
    return c.json(await webhooks.list(c.get('owner'), { ...filter, limit, after }), 200);
  });

  const read = createRoute({
    method: 'get',
    path: '/v1/webhooks/{id}',
    summary: 'Read a delivery and its attempts',
    tags: ['Webhooks'],
    request: { params, query: NO_QUERY },
    responses: { 200: json('The delivery.', deliverySchema), ...NOT_FOUND, ...UNAVAILABLE },
  });
  app.openapi(read, async (c) => c.json(await webhooks.get(c.get('owner'), c.req.valid('param').id), 200));

  const redeliver = createRoute({
    method: 'post',
    path: '/v1/webhooks/{id}/redeliver',
    summary: 'Send it again, now',
    tags: ['Webhooks'],
    request: { params, query: NO_QUERY },
    responses: {
      202: json('It is sent, with the same id and body, and retried like the first time.', deliverySchema),
      429: problem('Redis has too little memory left.'),
      507: problem('The disk of Redis has too little room.'),
      ...NOT_FOUND,
      ...UNAVAILABLE,
    },
  });
  app.openapi(redeliver, async (c) =>
    c.json(await webhooks.redeliver(c.get('owner'), c.req.valid('param').id), 202),
  );

  const cancel = createRoute({
    method: 'post',
    path: '/v1/webhooks/{id}/cancel',
    summary: 'Cancel a pending delivery',
    tags: ['Webhooks'],
    request: { params, query: NO_QUERY },
    responses: {
      200: json(
        'No further attempt is made. One that was under way may still get through: see `status`.',
        deliverySchema,
      ),
      409: problem('It was delivered or given up already.'),
      ...NOT_FOUND,
      ...UNAVAILABLE,
    },
  });
  app.openapi(cancel, async (c) =>
    c.json(await webhooks.cancel(c.get('owner'), c.req.valid('param').id), 200),
  );

  const secret = createRoute({
    method: 'get',
    path: '/v1/webhook-secret',
    summary: 'Read the secrets that your webhooks are signed with',
    tags: ['Webhooks'],
    request: { query: NO_QUERY },
    responses: {
      200: json('The current one first.', secretsSchema),
      403: problem('There are no API keys here; the operator has the secret.'),
      ...UNAVAILABLE,
    },
  });
  app.openapi(secret, async (c) => c.json(showSecrets(await webhooks.secrets(c.get('owner'))), 200));

  const rotate = createRoute({
    method: 'post',
    path: '/v1/webhook-secret/rotate',
    summary: 'Replace the secret that your webhooks are signed with',
    tags: ['Webhooks'],
    request: { query: NO_QUERY },
    responses: {
      200: json('The new one first; the one before signs beside it for a while.', secretsSchema),
      403: problem('There are no API keys here; the operator has the secret.'),
      429: problem('As many secrets as there may be sign already, or too many requests of this key.'),
      ...UNAVAILABLE,
    },
  });
  app.openapi(rotate, async (c) => c.json(showSecrets(await webhooks.rotate(c.get('owner'))), 200));

  return app;
}

/** Describes what is sent: the requests that a receiver has to answer. */
export function documentWebhooks({ openAPIRegistry }: OpenAPIHono<AppEnv>): void {
  const headers = z.object({
    'webhook-id': z.string().meta({
      description: 'Identifies the event: the same in every attempt. Use it to recognise repeats.',
      example: 'evt_019aaf3c5e7b9d0e5f1a2b3c4d5e6f70',
    }),
    'webhook-timestamp': z.string().meta({ description: 'Of this attempt, in Unix seconds.' }),
    'webhook-signature': z.string().meta({
      description: 'By Standard Webhooks, one for each valid secret, separated by spaces.',
      example: 'v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=',
    }),
    traceparent: z.string().meta({ description: 'The trace of the request that made the job or batch.' }),
  });
  const responses = {
    '2XX': { description: 'Accepted.' },
    410: { description: 'No longer wanted: no further attempts.' },
    default: { description: 'Not accepted: attempted again, not before `Retry-After`.' },
  };
  for (const [name, summary, schema] of [
    ['jobEnded', 'A job that was submitted with a webhook has ended', jobEventSchema],
    ['batchEnded', 'A batch that was submitted with a webhook has ended', batchEventSchema],
  ] as const) {
    openAPIRegistry.registerWebhook({
      method: 'post',
      path: name,
      summary,
      tags: ['Webhooks'],
      request: { headers, body: { required: true, content: { 'application/json': { schema } } } },
      responses,
    });
  }
}

function showSecrets(secrets: Secret[]) {
  return {
    secrets: secrets.map(({ secret, until }) => ({
      secret,
      valid_until: until === undefined ? null : new Date(until).toISOString(),
    })),
  };
}
