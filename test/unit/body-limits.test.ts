/** Limits of JSON bodies match their schemas: every valid body is within them, and every list has a greatest length. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { bodyLimits } from '../../src/api/load/body-limits.ts';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { completeBatchSchema, createRequestSchemas } from '../../src/api/requests.ts';
import { MAX_PARTS } from '../../src/shared/contract/batches.ts';
import { scanJson } from '../../src/shared/contract/json-scan.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const schemas = createRequestSchemas(loadConfig({}));
const bodies = { ...schemas, completeBatch: completeBatchSchema };

interface Described {
  type?: unknown;
  maxItems?: number;
  [keyword: string]: unknown;
}

/** Paths of a JSON Schema's lists without a greatest length. */
function endless(schema: unknown, path: string): string[] {
  if (typeof schema !== 'object' || schema === null) return [];
  const { type, maxItems } = schema as Described;
  const own = type === 'array' && maxItems === undefined ? [path] : [];
  return [...own, ...Object.entries(schema).flatMap(([key, inner]) => endless(inner, `${path}.${key}`))];
}

test.each(Object.entries(bodies))('every list of %s has a greatest length', (name, schema) => {
  expect(endless(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), name)).toEqual([]);
});

describe('the largest valid body is within the limits, whatever the settings', () => {
  const repeat = <T>(count: number, item: T) => Array.from({ length: count }, () => item);
  const settings = fc.record({
    texts: fc.integer({ min: 1, max: 500 }),
    metadata: fc.integer({ min: 9, max: 10_000 }),
  });

  test('of createJob, predict and hfClassify', () => {
    fc.assert(
      fc.property(settings, ({ texts, metadata }) => {
        const config = loadConfig({
          MAX_TEXTS_PER_JOB: String(texts),
          MAX_METADATA_BYTES: String(metadata),
        });
        const limits = bodyLimits(config);
        const requests = createRequestSchemas(config);
        // `{"a":[…]}` has 7 bytes beside its items, of which each has a digit and, but for the last, a comma.
        const densest = { a: repeat(Math.floor((metadata - 7) / 2), 1) };
        const webhook = { url: 'https://example.com/', events: repeat(16, 'job.failed') };
        const job = {
          texts: repeat(texts, { id: 'i', text: 'a' }),
          top_k: 1,
          model: 'm',
          metadata: densest,
          priority: 'low',
          expires_in: 1,
          webhook,
        };
        const predict = { inputs: repeat(texts, ['a']), truncate: true, raw_scores: false, model: 'm' };
        const hf = { inputs: repeat(texts, 'a'), parameters: { top_k: 1 }, options: { use_cache: true } };
        for (const [schema, body, limit] of [
          [requests.createJob, job, limits.createJob],
          [requests.predict, predict, limits.predict],
          [requests.hfClassify, hf, limits.hfClassify],
        ] as const) {
          expect(schema.safeParse(body).error).toBeUndefined();
          expect(scanJson(JSON.stringify(body), { maxDepth: 51, ...limit }).excess).toBeUndefined();
        }
      }),
      fuzz(30),
    );
  });

  test('of completeBatch, also when it is indented', () => {
    const { maxBytes, ...limit } = bodyLimits(loadConfig({})).completeBatch;
    const parts = Array.from({ length: MAX_PARTS }, (_, i) => ({ number: i + 1, sha256: 'a'.repeat(64) }));
    const body = JSON.stringify({ parts }, null, 4);
    expect(completeBatchSchema.safeParse({ parts }).success).toBe(true);
    expect(scanJson(body, { maxDepth: 51, ...limit }).excess).toBeUndefined();
    expect(body.length).toBeLessThan(maxBytes);
  });

  test('is never larger than MAX_BODY_BYTES', () => {
    const limits = bodyLimits(loadConfig({ MAX_BODY_BYTES: '2000' }));
    for (const { maxBytes } of Object.values(limits)) expect(maxBytes).toBe(2000);
  });
});
