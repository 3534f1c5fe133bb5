import { expect, test } from 'vitest';
import { loadConfig } from '../../src/shared/runtime/config.ts';
import { parseRedisUrl, withoutPasswords } from '../../src/shared/runtime/redis-url.ts';

test.each([
  ['redis://:secret@h:1/2', 'redis://:secret@h:1/2'],
  ['rediss://h', 'rediss://h'],
  ['unix:///run/redis.sock', '/run/redis.sock'],
])('%s is as it is', (url, target) => expect(parseRedisUrl(url)).toBe(target));

test.each([
  ['redis+sentinel://a/m', { sentinels: [{ host: 'a', port: 26_379 }], name: 'm', db: 0 }],
  [
    'redis+sentinel://a:1,[::1]:2,10.0.0.3/m/5',
    {
      sentinels: [
        { host: 'a', port: 1 },
        { host: '::1', port: 2 },
        { host: '10.0.0.3', port: 26_379 },
      ],
      name: 'm',
      db: 5,
    },
  ],
  [
    'redis+sentinel://me:p%40s%3As:t@a/my%20master?sentinel_username=you&sentinel_password=q%26r',
    {
      sentinels: [{ host: 'a', port: 26_379 }],
      name: 'my master',
      db: 0,
      username: 'me',
      password: 'p@s:s:t',
      sentinelUsername: 'you',
      sentinelPassword: 'q&r',
    },
  ],
  ['rediss+sentinel://:p@a/m', { sentinels: [{ host: 'a', port: 26_379 }], name: 'm', db: 0, password: 'p' }],
  ['redis+cluster://a', { clusterNodes: [{ host: 'a', port: 6379 }] }],
  [
    'rediss+cluster://me:p%40s@a:1,[::1]:2/0',
    {
      clusterNodes: [
        { host: 'a', port: 1 },
        { host: '::1', port: 2 },
      ],
      username: 'me',
      password: 'p@s',
    },
  ],
])('%s', (url, target) => expect(parseRedisUrl(url)).toEqual(target));

test.each([
  'redis+sentinel://a',
  'redis+sentinel://a/',
  'redis+sentinel:///m',
  'redis+sentinel://a,,b/m',
  'redis+sentinel://a:0/m',
  'redis+sentinel://a:65536/m',
  'redis+sentinel://::1/m',
  'redis+sentinel://a/m/x',
  'redis+sentinel://a/m?password=p',
  'redis+sentinel://:%zz@a/m',
  'sentinel://a/m',
  'redis+cluster://',
  'redis+cluster://a,,b',
  'redis+cluster://a:0',
  'redis+cluster://a/1',
  'redis+cluster://a?password=p',
  'redis://',
  'unix://run/redis.sock',
])('%s is no address of Redis', (url) => {
  expect(parseRedisUrl(url)).toBeUndefined();
  expect(() => loadConfig({ REDIS_URL: url })).toThrow(/REDIS_URL=.*: must begin with redis/);
});

test('errors about a wrong URL contain no password', () => {
  const url = 'redis+sentinel://me:se/cr@t@a,b/m?sentinel_password=secret&x=1';
  expect(withoutPasswords(url)).toBe('redis+sentinel://…@a,b/m?sentinel_password=…&x=1');
  expect(() => loadConfig({ REDIS_URL: url })).toThrow('REDIS_URL=redis+sentinel://…@a,b/m?');
});
