/** Which secrets of the environment and of `.env` the `amulet` command sends, and to whom. */
import { describe, expect, test } from 'vitest';
import { clientKey, hubAccess } from '../../src/cli/credentials.ts';
import { UsageError } from '../../src/cli/terminal/exit.ts';
import type { Variable, Variables } from '../../src/shared/runtime/environment.ts';

const given = (environment: Record<string, string>, file: Record<string, string> = {}): Variables => {
  const entries = (record: Record<string, string>, from: Variable['from']) =>
    Object.entries(record).map(([name, value]) => [name, { value, from }] as const);
  return {
    values: new Map([...entries(file, '.env'), ...entries(environment, 'environment')]),
    warnings: [],
  };
};
const HUB = 'https://hub.example/mirror';

describe('the model hub', () => {
  test('is that of Hugging Face, or another', () => {
    expect(hubAccess(given({}))).toMatchObject({
      endpoint: 'https://huggingface.co',
      token: undefined,
      notes: [],
    });
    expect(hubAccess(given({ HF_ENDPOINT: `${HUB}//`, HF_TOKEN: 'hf_x' }))).toMatchObject({
      endpoint: HUB,
      token: 'hf_x',
      notes: [],
    });
  });

  test.each<[string, Record<string, string>, Record<string, string>, string | undefined]>([
    ['both of the environment', { HF_ENDPOINT: HUB, HF_TOKEN: 'own' }, {}, 'own'],
    ['both of .env', {}, { HF_ENDPOINT: HUB, HF_TOKEN: 'file' }, 'file'],
    ['the address of .env', { HF_TOKEN: 'own' }, { HF_ENDPOINT: HUB }, undefined],
    [
      'the address of .env, a token in both',
      { HF_TOKEN: 'own' },
      { HF_ENDPOINT: HUB, HF_TOKEN: 'file' },
      undefined,
    ],
    ['the token of .env', { HF_ENDPOINT: HUB }, { HF_TOKEN: 'file' }, 'file'],
    ['the token of .env, for Hugging Face', {}, { HF_TOKEN: 'file' }, 'file'],
    ['the token of the environment, for Hugging Face', { HF_TOKEN: 'own' }, {}, 'own'],
  ])('%s: the token that it gets', (_, environment, file, token) => {
    expect(hubAccess(given(environment, file)).token).toBe(token);
  });

  test.each([
    [{ HF_ENDPOINT: 'hub.example' }, 'HF_ENDPOINT=hub.example: must be an http or https URL'],
    [{ HF_ENDPOINT: 'ftp://hub.example' }, 'HF_ENDPOINT=ftp://hub.example: must be an http or https URL'],
    [
      { HF_ENDPOINT: 'https://me:secret@hub.example' },
      'HF_ENDPOINT must not contain a user name or password; set HF_TOKEN instead',
    ],
    [
      { HF_ENDPOINT: 'ftp://me:secret@hub.example' },
      'HF_ENDPOINT must not contain a user name or password; set HF_TOKEN instead',
    ],
    [{ HF_TOKEN: 'sec\nret' }, 'HF_TOKEN contains characters that are not allowed in a token'],
    [{ HF_TOKEN: 'sécret' }, 'HF_TOKEN contains characters that are not allowed in a token'],
  ])('%j cannot be used', (env, message) => {
    expect(() => hubAccess(given(env))).toThrow(new UsageError(message));
  });
});

test('a key that no header can carry is refused, and is not in the message', () => {
  expect(() => clientKey(given({ AMULET_API_KEY: 'sec\nret' }))).toThrow(
    new UsageError('AMULET_API_KEY contains characters that are not allowed in a key'),
  );
});
