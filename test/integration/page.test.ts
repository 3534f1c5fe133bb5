/** The page at `/` and its files over HTTP; test/e2e/page.test.ts runs them in a browser. */
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import { Stack } from '../support/processes/stack.ts';

let stack: Stack;
beforeAll(async () => {
  const env = { API_KEYS: keyLine('a', newKey()) };
  stack = await Stack.start({ redisUrl: inject('redisUrl'), workers: 0, env });
});
afterAll(async () => {
  await stack.stop();
});

describe('the page of an API with keys', () => {
  test('is served without a key, under a strict content security policy', async () => {
    const response = await stack.fetch('/');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=UTF-8');
    const policy = response.headers.get('content-security-policy')!.split('; ');
    expect(policy).toEqual(
      expect.arrayContaining([
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "form-action 'none'",
      ]),
    );
    expect(policy.join()).not.toContain('unsafe');
    const html = await response.text();
    expect(html).toContain('<html lang="en">');
    // Nothing that the policy would refuse.
    expect(html).not.toMatch(
      /<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|(?:src|href)="(?:https?:)?\/\//,
    );
  });

  test('serves each imported module, without types', async () => {
    const seen = new Set<string>();
    const visit = async (name: string): Promise<void> => {
      if (seen.has(name)) return;
      seen.add(name);
      const response = await stack.fetch(`/page/${name}`);
      expect([name, response.status, response.headers.get('content-type')]).toEqual([
        name,
        200,
        'text/javascript; charset=utf-8',
      ]);
      const source = await response.text();
      expect(source).not.toMatch(/^(?:import type|interface|export interface) /m);
      for (const [, next] of source.matchAll(/^(?:import|export) [^;]*?from '([^']+)'/gm)) {
        // From other folders, only types are imported, which are stripped.
        expect([name, next]).toEqual([name, expect.stringMatching(/^\.\/[a-z-]+\.ts$/)]);
        await visit(next!.slice(2));
      }
    };
    await visit('main.ts');
    expect(seen.size).toBeGreaterThan(10);
  });

  test('is not sent again to a client that has it', async () => {
    const first = await stack.fetch('/page/page.css');
    expect(first.headers.get('content-type')).toBe('text/css; charset=utf-8');
    const headers = { 'if-none-match': first.headers.get('etag')! };
    expect((await stack.fetch('/page/page.css', { headers })).status).toBe(304);
  });

  test.each([
    'none.ts',
    'page.ts',
    '..%2fpage.ts',
    '..%2f..%2fmain.ts',
    'tsconfig.json',
    'client%2fmain.ts',
    'x',
  ])('has no file %s', async (name) => {
    expect((await stack.fetch(`/page/${name}`)).status).toBe(404);
  });

  test('makes no other path public', async () => {
    for (const path of ['/page', '/page/', '/page/x/y', '/v1/stats', '/v1/models'])
      expect([path, (await stack.fetch(path)).status]).toEqual([path, 401]);
  });
});
