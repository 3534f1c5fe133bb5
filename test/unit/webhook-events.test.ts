import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { batchEvents, jobEvents } from '../../src/shared/contract/webhooks.ts';
import {
  eventId,
  eventTime,
  firstEventId,
  EVENT_ID,
  newBatchId,
  newGroupId,
  newJobId,
} from '../../src/shared/contract/ids.ts';
import { newDelivery, showWebhook, wants } from '../../src/shared/contract/events.ts';

const URL = 'https://hooks.example/';
const newJob = () => newJobId(newGroupId('normal', 'model'));
/** Unix ms that an id has room for; the next one has an id, too. */
const times = fc.integer({ min: 0, max: 2 ** 48 - 2 });

describe('the id of an event', () => {
  test('has its time, and the id of its source', () => {
    const source = '019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e';
    for (const id of [`${source}-n-model`, `${source}-b-model`]) {
      expect(eventId(id, 0x019b00000001)).toBe('evt_019b000000017c3b9d0e5f1a2b3c4d5e');
    }
  });

  test('is the same in every process, and differs for another end or source', () => {
    const [job, other, batch] = [newJob(), newJob(), newBatchId('model')];
    const at = Date.now();
    expect(eventId(job, at)).toBe(eventId(job, at));
    const ids = [eventId(job, at), eventId(job, at + 1), eventId(other, at), eventId(batch, at)];
    expect(new Set(ids).size).toBe(4);
  });

  test('is valid for any end, contains its time, and is ordered by it', () => {
    fc.assert(
      fc.property(times, times, (one, two) => {
        const [first, second] = [eventId(newJob(), one), eventId(newBatchId('model'), two)];
        expect([EVENT_ID.test(first), eventTime(first)]).toEqual([true, one]);
        if (one !== two) expect(first < second).toBe(one < two);
        expect(firstEventId(one) <= first).toBe(true);
        expect(firstEventId(one + 1) > first).toBe(true);
      }),
    );
  });

  test('none is smaller than the first of the epoch', () => {
    expect(firstEventId(-1)).toBe('evt_000000000000');
  });

  test.each([
    '',
    'evt_',
    'evt_019aaf3c5e7b',
    `evt_${'0'.repeat(31)}`,
    `evt_${'0'.repeat(33)}`,
    `evt_${'A'.repeat(32)}`,
    `evt-${'0'.repeat(32)}`,
    `evt_${'0'.repeat(32)}\n`,
    ` evt_${'0'.repeat(32)}`,
    '0'.repeat(32),
  ])('%j is none', (id) => expect(EVENT_ID.test(id)).toBe(false));
});

describe('events that are wanted', () => {
  test('all of them, unless some are named', () => {
    for (const type of [...jobEvents, ...batchEvents]) {
      expect(wants(undefined, type)).toBe(false);
      expect(wants({ url: URL, trace: '' }, type)).toBe(true);
      expect(wants({ url: URL, trace: '', events: [] }, type)).toBe(false);
      expect(wants({ url: URL, trace: '', events: ['job.failed'] }, type)).toBe(type === 'job.failed');
    }
  });

  test('are shown, with the delivery of the latest', () => {
    const webhook = { url: URL, trace: 'x' };
    expect(showWebhook('job', undefined, undefined)).toBeNull();
    expect(showWebhook('job', webhook, undefined)).toEqual({ url: URL, events: jobEvents, delivery: null });
    expect(showWebhook('batch', { ...webhook, events: ['batch.failed'] }, 'evt_1')).toEqual({
      url: URL,
      events: ['batch.failed'],
      delivery: '/v1/webhooks/evt_1',
    });
    expect(showWebhook('batch', webhook, undefined)?.events).toEqual(batchEvents);
  });
});

test('a new delivery is names and values in turn', () => {
  expect(newDelivery('job.failed', 'job', 'owner', { url: URL, trace: 'trace' }, 7)).toEqual([
    'type',
    'job.failed',
    'source',
    'job',
    'owner',
    'owner',
    'url',
    URL,
    'trace',
    'trace',
    'created',
    '7',
  ]);
});
