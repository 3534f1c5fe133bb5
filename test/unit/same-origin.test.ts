import { describe, expect, test } from 'vitest';
import { createOriginGuard } from '../../src/api/middleware/same-origin.ts';
import { loadConfig } from '../../src/shared/config.ts';

function refusal(headers: Record<string, string>, env: Record<string, string> = {}): unknown {
  const guard = createOriginGuard(loadConfig(env), false);
  if (!guard) return 'no guard';
  try {
    guard((name) => headers[name]);
    return undefined;
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

describe('on loopback without keys', () => {
  test.each([
    ['a program', { host: '127.0.0.1:3000' }],
    ['a program of HTTP/1.0', {}],
    ['a name', { host: 'localhost:3000' }],
    ['a name in capitals', { host: 'LOCALHOST:3000' }],
    ['another loopback address', { host: '127.8.0.1' }],
    ['IPv6', { host: '[::1]:3000' }],
    ['the page itself', { host: 'localhost:3000', origin: 'http://localhost:3000' }],
    ['a page that is being developed', { host: 'localhost:3000', origin: 'http://localhost:5173' }],
  ])('answers %s', (_, headers) => {
    expect(refusal(headers)).toBeUndefined();
  });

  test.each([
    ['a name that was made to point here', { host: 'evil.example' }],
    ['… with our port', { host: 'evil.example:3000' }],
    ['… that looks like ours', { host: 'localhost.evil.example' }],
    ['… or like an address', { host: '127.0.0.1.evil.example' }],
    ['… or hides one in front', { host: 'localhost@evil.example' }],
    ['an address of the network', { host: '192.168.0.7:3000' }],
    ['no name at all', { host: '' }],
    ['what is none', { host: 'a b' }],
    ['a form of another page', { host: 'localhost:3000', origin: 'https://evil.example' }],
    ['a page without an origin', { host: 'localhost:3000', origin: 'null' }],
    ['a page on the disk', { host: 'localhost:3000', origin: 'file://' }],
  ])('refuses %s', (_, headers) => {
    expect(refusal(headers)).toBe('foreign_origin');
  });

  test('answers the host of PUBLIC_URL, behind a proxy', () => {
    const env = { PUBLIC_URL: 'https://Amulet.example.com/base' };
    const host = 'amulet.example.com';
    expect(refusal({ host, origin: 'https://amulet.example.com' }, env)).toBeUndefined();
    expect(refusal({ host: 'other.example.com' }, env)).toBe('foreign_origin');
    expect(refusal({ host, origin: 'https://other.example.com' }, env)).toBe('foreign_origin');
  });
});

test('is not there where keys or AUTH=none decide', () => {
  expect(createOriginGuard(loadConfig({}), true)).toBeUndefined();
  expect(createOriginGuard(loadConfig({ AUTH: 'none' }), false)).toBeUndefined();
});
