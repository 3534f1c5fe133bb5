/** The types that the client writes out are those of the contract: tsc says so, and this file does nothing else. */
import { expectTypeOf, test } from 'vitest';
import type { z } from 'zod';
import type { InputRow } from '../../src/shared/bulk/input.ts';
import type * as contract from '../../src/shared/contract/contract.ts';
import type * as errors from '../../src/shared/contract/problems.ts';
import type { BatchSubmitOptions, FieldError, SubmitOptions, TextInput } from '../../src/client/index.ts';
import type * as client from '../../src/client/types.ts';

test('what is answered', () => {
  expectTypeOf<client.Job>().toEqualTypeOf<contract.Job>();
  expectTypeOf<client.ListedJob>().toEqualTypeOf<contract.JobList['jobs'][number]>();
  expectTypeOf<client.RowResult>().toEqualTypeOf<contract.RowResult>();
  expectTypeOf<client.Batch>().toEqualTypeOf<contract.Batch>();
  expectTypeOf<client.BatchPart>().toEqualTypeOf<contract.BatchPart>();
  expectTypeOf<client.Delivery>().toEqualTypeOf<contract.Delivery>();
  expectTypeOf<client.Model>().toEqualTypeOf<contract.Model>();
  expectTypeOf<client.WebhookEvent>().toEqualTypeOf<contract.WebhookEvent>();
});

test('what the rows of a batch may say', () => {
  type Unreadable = Extract<InputRow, { error: unknown }>['error']['code'];
  expectTypeOf<client.BatchRowError['code']>().toEqualTypeOf<Unreadable | contract.RowError['code']>();
});

test('what is asked', () => {
  type Wire = Omit<SubmitOptions, 'signal' | 'idempotencyKey'> & { texts: TextInput[] };
  type Body = z.input<contract.RequestSchemas['createJob']>;
  expectTypeOf<keyof Wire>().toEqualTypeOf<Exclude<keyof Body, 'text'>>();
  expectTypeOf<DeepMutable<Wire>>().toExtend<Body>();

  type Query = Omit<BatchSubmitOptions, 'signal' | 'idempotencyKey'>;
  type Accepted = Exclude<keyof contract.CreateBatchQuery, 'open' | 'first_line' | 'webhook_events'>;
  expectTypeOf<keyof Query>().toEqualTypeOf<Accepted>();
});

test('what is wrong with a request', () => {
  expectTypeOf<FieldError>().toEqualTypeOf<errors.FieldError>();
});

/** The client promises not to change what it is given; a body need not. */
type DeepMutable<T> = T extends object ? { -readonly [K in keyof T]: DeepMutable<T[K]> } : T;
