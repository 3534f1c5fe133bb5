/** The client's hand-written types equal those of the contract: tsc checks this file, which does nothing at run time. */
import { expectTypeOf, test } from 'vitest';
import type { z } from 'zod';
import type { InputRow } from '../../src/shared/bulk/input.ts';
import type { CreateBatchQuery, RequestSchemas } from '../../src/api/requests.ts';
import type { Batch, BatchPart } from '../../src/shared/contract/batches.ts';
import type { Job, JobList } from '../../src/shared/contract/jobs.ts';
import type { Model } from '../../src/shared/contract/models.ts';
import type { RowError, RowResult } from '../../src/shared/contract/results.ts';
import type { WebhookEvent } from '../../src/shared/contract/webhook-events.ts';
import type { Delivery } from '../../src/shared/contract/webhooks.ts';
import type * as errors from '../../src/shared/contract/problems.ts';
import type { BatchSubmitOptions, FieldError, SubmitOptions, TextInput } from '../../src/client/index.ts';
import type * as client from '../../src/client/types.ts';

test('responses', () => {
  expectTypeOf<client.Job>().toEqualTypeOf<Job>();
  expectTypeOf<client.ListedJob>().toEqualTypeOf<JobList['jobs'][number]>();
  expectTypeOf<client.RowResult>().toEqualTypeOf<RowResult>();
  expectTypeOf<client.Batch>().toEqualTypeOf<Batch>();
  expectTypeOf<client.BatchPart>().toEqualTypeOf<BatchPart>();
  expectTypeOf<client.Delivery>().toEqualTypeOf<Delivery>();
  expectTypeOf<client.Model>().toEqualTypeOf<Model>();
  expectTypeOf<client.WebhookEvent>().toEqualTypeOf<WebhookEvent>();
});

test('rows of a batch', () => {
  type Unreadable = Extract<InputRow, { error: unknown }>['error']['code'];
  expectTypeOf<client.BatchRowError['code']>().toEqualTypeOf<Unreadable | RowError['code']>();
});

test('requests', () => {
  type Wire = Omit<SubmitOptions, 'signal' | 'idempotencyKey'> & { texts: TextInput[] };
  type Body = z.input<RequestSchemas['createJob']>;
  expectTypeOf<keyof Wire>().toEqualTypeOf<Exclude<keyof Body, 'text'>>();
  expectTypeOf<DeepMutable<Wire>>().toExtend<Body>();

  type Query = Omit<BatchSubmitOptions, 'signal' | 'idempotencyKey'>;
  type Accepted = Exclude<keyof CreateBatchQuery, 'open' | 'first_line' | 'webhook_events'>;
  expectTypeOf<keyof Query>().toEqualTypeOf<Accepted>();
});

test('problems of a request', () => {
  expectTypeOf<FieldError>().toEqualTypeOf<errors.FieldError>();
});

/** The client promises not to change what it is given; a body need not. */
type DeepMutable<T> = T extends object ? { -readonly [K in keyof T]: DeepMutable<T[K]> } : T;
