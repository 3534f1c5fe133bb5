/** The same-origin guard: requests that a browser can be made to send, and the names under which they are answered. */
import { describe, expect, test } from 'vitest';
import { createOriginGuard } from '../../src/api/middleware/same-origin.ts';
import { loadApiConfig, loadConfig } from '../../src/shared/runtime/config.ts';
import { composeFile, containerEnvironment } from '../support/processes/compose-file.ts';

type Headers = Record<string, string>;

function refusal(headers: Headers, env: Record<string, string> = {}, method = 'POST'): unknown {
  const guard = createOriginGuard(loadConfig(env), { hasKeys: false });
  try {
    guard?.(method, (name) => headers[name]);
    return undefined;
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

const OURS: [string, Headers][] = [
  ['a program', { host: '127.0.0.1:3000' }],
  ['a program of HTTP/1.0', {}],
  ['a name', { host: 'localhost:3000' }],
  ['a name in capitals', { host: 'LOCALHOST:3000' }],
  ['a name with the dot of the root', { host: 'localhost.:3000' }],
  ['a name below it', { host: 'amulet.localhost:3000' }],
  ['another loopback address', { host: '127.8.0.1' }],
  ['one that is written another way', { host: '0x7f.1:3000' }],
  ['IPv6', { host: '[::1]:3000' }],
  ['the page itself', { host: 'localhost:3000', origin: 'http://localhost:3000' }],
  [
    'the page itself, in newer browsers',
    { host: 'localhost:3000', origin: 'http://localhost:3000', 'sec-fetch-site': 'same-origin' },
  ],
  ['an address that was typed', { host: 'localhost:3000', 'sec-fetch-site': 'none' }],
  [
    'a page under development',
    { host: 'localhost:3000', origin: 'http://127.0.0.1:5173', 'sec-fetch-site': 'cross-site' },
  ],
];

const FOREIGN: [string, Headers][] = [
  ['a name that was made to point here', { host: 'evil.example' }],
  ['… with our port', { host: 'evil.example:3000' }],
  ['… with the dot of the root', { host: 'evil.example.' }],
  ['… in capitals', { host: 'EVIL.EXAMPLE' }],
  ['… that looks like ours', { host: 'localhost.evil.example' }],
  ['… or like an address', { host: '127.0.0.1.evil.example' }],
  ['… or hides one in front', { host: 'localhost@evil.example' }],
  ['… or behind', { host: 'evil.example#localhost' }],
  ['… or under the name that a page invents', { host: 'evil.example', 'x-forwarded-host': 'localhost' }],
  [
    '… from which the page itself asks',
    { host: 'evil.example', origin: 'http://evil.example', 'sec-fetch-site': 'same-origin' },
  ],
  ['no name at all', { host: '' }],
  ['what is none', { host: 'a b' }],
  ['a form of another page', { host: 'localhost:3000', origin: 'https://evil.example' }],
  [
    'a form of another page, in newer browsers',
    { host: 'localhost:3000', origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
  ],
  ['an image in another page', { host: 'localhost:3000', 'sec-fetch-site': 'cross-site' }],
  ['a page without an origin', { host: 'localhost:3000', origin: 'null' }],
  ['a page on the disk', { host: 'localhost:3000', origin: 'file://' }],
];

/** Environments in which the API listens on loopback or is published there, whatever AUTH is. */
describe.each<[string, Record<string, string>]>([
  ['on loopback', {}],
  ['on loopback with AUTH=none', { AUTH: 'none' }],
  ['on IPv6 loopback', { AUTH: 'none', HOST: '::1' }],
  [
    'in a container that is published on loopback',
    { AUTH: 'none', HOST: '0.0.0.0', PUBLIC_URL: 'http://127.0.0.1' },
  ],
  ['as docker-compose.yml starts it', containerEnvironment(composeFile.services.api!, {})],
])('%s, without keys,', (_, env) => {
  test.each(OURS)('answers %s', (_name, headers) => expect(refusal(headers, env)).toBeUndefined());

  test.each(FOREIGN)('refuses %s', (_name, headers) => {
    expect(refusal(headers, env)).toBe('foreign_origin');
    if (!('sec-fetch-site' in headers)) expect(refusal(headers, env, 'GET')).toBe('foreign_origin');
  });

  test('answers a followed link on another page, but not a sent form', () => {
    const headers = { host: 'localhost:3000', 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' };
    expect(refusal(headers, env, 'GET')).toBeUndefined();
    expect(refusal(headers, env, 'POST')).toBe('foreign_origin');
  });
});

describe('names of the network', () => {
  const names = [
    'api:3000',
    'API',
    'amulet_api_1:3000',
    '172.18.0.4:3000',
    '[fd00::4]:3000',
    'host.docker.internal',
  ];

  test.each(names)('%s is answered only in a container: no web page can have this name', (host) => {
    expect(refusal({ host })).toBe('foreign_origin');
    expect(refusal({ host }, containerEnvironment(composeFile.services.api!, {}))).toBeUndefined();
  });

  test('do not let in pages of other origins', () => {
    const env = containerEnvironment(composeFile.services.api!, {});
    expect(refusal({ host: 'api:3000', origin: 'https://evil.example' }, env)).toBe('foreign_origin');
    expect(refusal({ host: 'localhost:3000', origin: 'http://router.internal' }, env)).toBe('foreign_origin');
  });
});

test('with a loopback PUBLIC_URL from .env, Compose guards it alike; with another, under that name', () => {
  const guarded = (PUBLIC_URL: string) => containerEnvironment(composeFile.services.api!, { PUBLIC_URL });
  expect(refusal({ host: 'evil.example' }, guarded('http://localhost:8080'))).toBe('foreign_origin');
  const env = guarded('https://amulet.example.com');
  expect(refusal({ host: 'amulet.example.com', origin: 'https://amulet.example.com' }, env)).toBeUndefined();
  expect(refusal({ host: 'amulet.example.com', origin: 'https://evil.example' }, env)).toBe('foreign_origin');
});

test('on loopback answers the host of PUBLIC_URL, behind a proxy', () => {
  const env = { PUBLIC_URL: 'https://Amulet.example.com/base' };
  const host = 'amulet.example.com';
  expect(refusal({ host, origin: 'https://amulet.example.com' }, env)).toBeUndefined();
  expect(refusal({ host: 'other.example.com' }, env)).toBe('foreign_origin');
  expect(refusal({ host, origin: 'https://other.example.com' }, env)).toBe('foreign_origin');
});

describe('on every address with AUTH=none', () => {
  const env = { AUTH: 'none', HOST: '0.0.0.0' };
  const host = 'amulet.internal.example';

  test.each<[string, Headers]>([
    ['a program under any name', { host }],
    ['its own page', { host, origin: `https://${host}` }],
    [
      'its own page behind a proxy that changes Host',
      { host: '10.0.0.7:3000', origin: `https://${host}`, 'sec-fetch-site': 'same-origin' },
    ],
  ])('answers %s', (_, headers) => expect(refusal(headers, env)).toBeUndefined());

  test.each<[string, Headers]>([
    ['another page', { host, origin: 'https://evil.example' }],
    ['a page beside it', { host, origin: 'https://other.internal.example', 'sec-fetch-site': 'same-site' }],
    ['an image in another page', { host, 'sec-fetch-site': 'cross-site' }],
  ])('refuses %s', (_, headers) => expect(refusal(headers, env)).toBe('foreign_origin'));
});

test('does not exist with API keys', () => {
  expect(createOriginGuard(loadConfig({}), { hasKeys: true })).toBeUndefined();
});

test('exists in every API without keys', () => {
  const hosts = ['127.0.0.1', 'localhost', '::1'].map((HOST) => ({ HOST }));
  for (const env of [...hosts, { HOST: '0.0.0.0', AUTH: 'none' }, { HOST: '0.0.0.0', AUTH: 'optional' }])
    expect(createOriginGuard(loadApiConfig(env), { hasKeys: false }), JSON.stringify(env)).toBeDefined();
});
