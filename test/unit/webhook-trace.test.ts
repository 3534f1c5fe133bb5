/** By the W3C recommendation "Trace Context". */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { childTrace, traceOf } from '../../src/shared/runtime/trace-context.ts';
import { fuzz } from '../support/inputs/fuzz.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const NEW = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00$/;

describe('the trace of a request', () => {
  test.each(['00', '01', '02', '03'])('is kept, with the flags %s', (flags) => {
    const header = `00-${TRACE}-${PARENT}-${flags}`;
    expect(traceOf(header)).toBe(header);
  });

  test('drops unknown flags', () => {
    expect(traceOf(`00-${TRACE}-${PARENT}-ff`)).toBe(`00-${TRACE}-${PARENT}-03`);
    expect(traceOf(`00-${TRACE}-${PARENT}-80`)).toBe(`00-${TRACE}-${PARENT}-00`);
  });

  test.each([
    ['without anything new', `01-${TRACE}-${PARENT}-01`],
    ['with more behind it', `01-${TRACE}-${PARENT}-01-what-the-future-will-bring`],
    ['with nothing more behind it', `cc-${TRACE}-${PARENT}-01-`],
    ['the last one', `fe-${TRACE}-${PARENT}-09`],
  ])('of a later version, %s, is written as this one', (_what, header) => {
    expect(traceOf(header)).toBe(`00-${TRACE}-${PARENT}-01`);
  });

  test.each<[string, string | undefined]>([
    ['none', undefined],
    ['empty', ''],
    ['only a trace id', TRACE],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${PARENT}-01`],
    ['a parent of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['the version that is none', `ff-${TRACE}-${PARENT}-01`],
    ['more than version 00 has', `00-${TRACE}-${PARENT}-01-more`],
    ['a dash too much', `00-${TRACE}-${PARENT}-01-`],
    ['a later version that goes on without a dash', `01-${TRACE}-${PARENT}-01.more`],
    ['a later version with a trace id of zeros', `01-${'0'.repeat(32)}-${PARENT}-01`],
    ['capitals', `00-${TRACE.toUpperCase()}-${PARENT}-01`],
    ['no hexadecimal digits', `00-${'g'.repeat(32)}-${PARENT}-01`],
    ['too short a trace id', `00-${TRACE.slice(1)}-${PARENT}-01`],
    ['too long a trace id', `00-0${TRACE}-${PARENT}-01`],
    ['no flags', `00-${TRACE}-${PARENT}`],
    ['flags of one digit', `00-${TRACE}-${PARENT}-1`],
    ['a version of one digit', `0-${TRACE}-${PARENT}-01`],
    ['white space', ` 00-${TRACE}-${PARENT}-01`],
    ['two in one', `00-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`],
  ])('is a new one when it has %s', (_what, header) => {
    const trace = traceOf(header);
    expect(trace).toMatch(NEW);
    expect(trace).not.toContain(TRACE);
    expect(traceOf(header)).not.toBe(trace);
  });

  test('is valid whatever the header is', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 80 }), (header) => {
        expect(traceOf(header)).toMatch(/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[0-3]$/);
      }),
      fuzz(200),
    );
  });
});

describe('the trace of a delivery', () => {
  test('has the trace id and flags, and a new parent id', () => {
    const trace = `00-${TRACE}-${PARENT}-01`;
    const links = [childTrace(trace), childTrace(trace)];
    for (const link of links) {
      expect(link).toMatch(new RegExp(`^00-${TRACE}-(?!0{16})[0-9a-f]{16}-01$`));
      expect(link).not.toContain(PARENT);
    }
    expect(new Set(links).size).toBe(2);
  });

  test('starts a new trace when the stored one is invalid', () => {
    expect(childTrace('nonsense')).toMatch(NEW);
  });
});
