/** `/docs` in a real browser: every operation that needs no id answers 2xx with the values it is filled in with. */
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import { findChromium, Pages } from '../support/processes/browser.ts';
import { operationsOf, type OpenApiDocument } from '../support/api/openapi.ts';
import { Stack } from '../support/processes/stack.ts';

const chromium = findChromium();
if (chromium === undefined)
  console.log('skipped: /docs in a browser (no Chromium on the PATH, or in CHROMIUM)');

const key = newKey();
const PATIENCE_MS = 60_000;
/** Without API keys there are no secrets of theirs. */
const OF_KEYS = ['GET /v1/webhook-secret', 'POST /v1/webhook-secret/rotate'];

describe.skipIf(chromium === undefined).each([
  ['without keys', false],
  ['with a key: operations that belong to one', true],
])('/docs %s', (_name, withKey) => {
  const env: Record<string, string> = withKey ? { API_KEYS: keyLine('alice', key) } : {};
  const extraHTTPHeaders: Record<string, string> = withKey ? { Authorization: `Bearer ${key}` } : {};
  let stack: Stack;
  let pages: Pages;
  let document: OpenApiDocument;

  beforeAll(async () => {
    [stack, pages] = await Promise.all([
      Stack.start({ redisUrl: inject('redisUrl'), env }),
      Pages.start(chromium!),
    ]);
    ({ body: document } = await stack.get<OpenApiDocument & Record<string, unknown>>('/openapi.json'));
  });
  afterAll(async () => {
    await pages.stop();
    await stack.stop();
  });
  afterEach(async () => {
    expect(await pages.clear()).toEqual([]);
  });

  const openDocs = async () => {
    const page = await pages.open(`${stack.url}/docs`, { extraHTTPHeaders });
    // To draw an operation takes a busy machine many seconds.
    page.setDefaultTimeout(PATIENCE_MS);
    return page;
  };
  /** An operation, opened. */
  const opened = async (page: Page, method: string, path: string) => {
    const block = page.locator('.opblock', {
      has: page.locator(`.opblock-summary-method:text-is("${method}") ~ * [data-path="${path}"]`),
    });
    await block.locator('.opblock-summary-control').click();
    return block;
  };
  type Block = Awaited<ReturnType<typeof opened>>;
  /** Executes it as it is filled in. @returns the status, or what the page says instead */
  const execute = async (block: Block) => {
    await block.locator('button.execute').click();
    const status = block.locator('.live-responses-table tbody .response-col_status');
    await status.first().waitFor();
    return (await status.first().innerText()).trim();
  };

  test('Execute answers 2xx', async () => {
    const page = await openDocs();
    const operations = operationsOf(document).filter(
      ({ method, path }) => !path.includes('{id}') && method !== 'DELETE',
    );
    expect(operations.length).toBeGreaterThan(12);
    const isOfKeys = (operation: unknown) => OF_KEYS.includes(String(operation));
    const answers: [string, string][] = [];
    for (const operation of operations.filter((each) => isOfKeys(each) === withKey)) {
      const block = await opened(page, operation.method, operation.path);
      answers.push([String(operation), await execute(block)]);
      // What is open is drawn again and again.
      await block.locator('.opblock-summary-control').click();
    }
    expect(answers.filter(([, status]) => !/^2\d\d$/.test(status))).toEqual([]);
  });

  test.skipIf(withKey)('every example and every body type answers 2xx', async () => {
    const page = await openDocs();
    const answers: [string, string][] = [];
    for (const path of ['/v1/jobs', '/predict', '/v1/batches']) {
      const { content } = document.paths[path]!.post!.requestBody!;
      const { examples } = content['application/json'] ?? {};
      const options = Object.keys(examples ?? content);
      const block = await opened(page, 'POST', path);
      const select = block
        .locator(examples ? '.examples-select-element' : 'select[id$="_requests_select"]')
        .first();
      await select.waitFor();
      for (const option of options) {
        await select.selectOption(option);
        answers.push([`${path} ${option}`, await execute(block)]);
        await block.locator('button.btn-clear').click();
      }
      await block.locator('.opblock-summary-control').click();
    }
    expect(answers).toHaveLength(8);
    expect(answers.filter(([, status]) => !/^2\d\d$/.test(status))).toEqual([]);
  });
});
