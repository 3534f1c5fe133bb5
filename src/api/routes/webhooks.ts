/** `/v1/webhooks`: deliveries, their redelivery and cancellation; `/v1/webhook-secret`: the signing secrets. See docs/webhooks.md. */
import { createRoute, z } from '@hono/zod-openapi';
import { batchEventSchema, jobEventSchema } from '../../shared/contract/webhook-events.ts';
import { deliverySchema, deliveryStatusSchema } from '../../shared/contract/webhooks.ts';
import { EVENT_ID } from '../../shared/contract/ids.ts';
import type { Secret } from '../../shared/store/deliveries/secrets.ts';
import type { App } from '../env.ts';
import { DEFAULT_PAGE, idInPath, json, NO_QUERY, PAGE, pageQuery, problem } from './openapi.ts';
import type { RouteDeps } from './deps.ts';

const params = z.object({ id: idInPath(EVENT_ID, 'evt_019aaf3c5e7b9d0e5f1a2b3c4d5e6f70') });
const NOT_FOUND = { 404: problem('The delivery is unknown, or past its retention.') };

const secretsSchema = z
  .object({
    secrets: z.array(
      z.object({
        secret: z.string().meta({ example: 'whsec_…' }),
        valid_until: z.iso
          .datetime()
          .nullable()
          .meta({ description: 'When it stops signing; null: it is the current secret.' }),
      }),
    ),
  })
  .meta({ id: 'WebhookSecrets', description: 'Every webhook is signed with all of these secrets.' });

export function webhookRoutes(app: App, { webhooks }: RouteDeps): void {
  const list = createRoute({
    method: 'get',
    path: '/v1/webhooks',
    summary: 'List your deliveries, newest first',
    request: {
      query: pageQuery(EVENT_ID, deliveryStatusSchema),
    },
    responses: {
      200: json(PAGE, z.object({ deliveries: z.array(deliverySchema), next: z.string().nullable() })),
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
    request: { params, query: NO_QUERY },
    responses: { 200: json('The delivery.', deliverySchema), ...NOT_FOUND },
  });
  app.openapi(read, async (c) => c.json(await webhooks.get(c.get('owner'), c.req.valid('param').id), 200));

  const redeliver = createRoute({
    method: 'post',
    path: '/v1/webhooks/{id}/redeliver',
    summary: 'Send a delivery again now',
    request: { params, query: NO_QUERY },
    responses: {
      202: json(
        'The delivery is sent again with the same id and body, and retried like the first time.',
        deliverySchema,
      ),
      429: problem('Redis has too little memory left.'),
      507: problem('The disk of Redis has too little free space.'),
      ...NOT_FOUND,
    },
  });
  app.openapi(redeliver, async (c) =>
    c.json(await webhooks.redeliver(c.get('owner'), c.req.valid('param').id), 202),
  );

  const cancel = createRoute({
    method: 'post',
    path: '/v1/webhooks/{id}/cancel',
    summary: 'Cancel a pending delivery',
    request: { params, query: NO_QUERY },
    responses: {
      200: json(
        'No further attempt is made. An attempt that was under way may still succeed: see `status`.',
        deliverySchema,
      ),
      409: problem('The delivery has already succeeded or been given up.'),
      ...NOT_FOUND,
    },
  });
  app.openapi(cancel, async (c) =>
    c.json(await webhooks.cancel(c.get('owner'), c.req.valid('param').id), 200),
  );

  const secret = createRoute({
    method: 'get',
    path: '/v1/webhook-secret',
    summary: 'Read the secrets that your webhooks are signed with',
    request: { query: NO_QUERY },
    responses: {
      200: json('The secrets, the current one first.', secretsSchema),
      403: problem('No API keys are set; the operator has the secret.'),
    },
  });
  app.openapi(secret, async (c) => c.json(showSecrets(await webhooks.secrets(c.get('owner'))), 200));

  const rotate = createRoute({
    method: 'post',
    path: '/v1/webhook-secret/rotate',
    summary: 'Replace the secret that your webhooks are signed with',
    request: { query: NO_QUERY },
    responses: {
      200: json('The new secret first; the old one keeps signing for a while.', secretsSchema),
      403: problem('No API keys are set; the operator has the secret.'),
      429: problem('Too many secrets are still valid, or this key has made too many requests.'),
    },
  });
  app.openapi(rotate, async (c) => c.json(showSecrets(await webhooks.rotate(c.get('owner'))), 200));
}

/** Adds the webhook requests, which a receiver has to answer, to the OpenAPI document. */
export function documentWebhooks({ openAPIRegistry }: App): void {
  const headers = z.object({
    'webhook-id': z.string().meta({
      description: 'Identifies the event: the same in every attempt. Use it to recognise repeats.',
      example: 'evt_019aaf3c5e7b9d0e5f1a2b3c4d5e6f70',
    }),
    'webhook-timestamp': z.string().meta({ description: 'Time of this attempt, in Unix seconds.' }),
    'webhook-signature': z.string().meta({
      description: 'Signatures as in Standard Webhooks, one per valid secret, separated by spaces.',
      example: 'v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=',
    }),
    traceparent: z.string().meta({ description: 'The trace of the request that made the job or batch.' }),
  });
  const responses = {
    '2XX': { description: 'Accepted.' },
    410: { description: 'The receiver wants no more: no further attempts.' },
    default: { description: 'Not accepted: tried again, not before `Retry-After`.' },
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
