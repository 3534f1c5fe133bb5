/** The page at `/` in a real browser, on real processes. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import axe from 'axe-core';
import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { keyLine, newKey } from '../../src/shared/runtime/api-keys.ts';
import { findChromium, Pages } from '../support/processes/browser.ts';
import { eventually, Process, Stack } from '../support/processes/stack.ts';
import { goEmotions } from '../support/inputs/texts.ts';

const chromium = findChromium();
if (chromium === undefined)
  console.log('skipped: the page in a browser (no Chromium on the PATH, or in CHROMIUM)');

const HOSTILE = '<img src=x onerror="document.title=1">';
const keys = { alice: newKey(), slow: newKey() };

let folder: string;
let stack: Stack;
/** Of the same service, for callers with a key. */
let locked: { api: Process; url: string };
let hostile: Process;
let pages: Pages;

describe.skipIf(chromium === undefined)('the page', () => {
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'amulet-page-'));
    const model = path.join(folder, 'hostile');
    cpSync('models/sst2-minilm', model, { recursive: true });
    rmSync(path.join(model, 'manifest.json'));
    const config = JSON.parse(readFileSync(path.join(model, 'config.json'), 'utf8')) as object;
    const id2label = { 0: HOSTILE, 1: '</span><script>document.title=1</script>' };
    writeFileSync(path.join(model, 'config.json'), JSON.stringify({ ...config, id2label, label2id: {} }));
    writeFileSync(path.join(model, 'amulet.json'), '{"languages": ["en", "ru", "ar"]}');
    stack = new Stack({ redisUrl: inject('redisUrl'), env: { BULK_CHUNK_BYTES: '16384' } });
    hostile = stack.startWorker({ MODEL_DIR: model });
    const api = stack.startApi({
      API_KEYS: `${keyLine('alice', keys.alice)},${keyLine('slow', keys.slow)}:3`,
    });
    stack.url = await stack.api.ready;
    locked = { api, url: await api.ready };
    [pages] = await Promise.all([
      Pages.start(chromium!),
      hostile.ready,
      ...stack.workers.map((worker) => worker.ready),
    ]);
    await eventually(async () => ((await stack.fetch('/health/ready')).ok ? true : undefined));
  });
  afterAll(async () => {
    await pages.stop();
    await Promise.all([locked.api.end(), hostile.end()]);
    await stack.stop();
    rmSync(folder, { recursive: true });
  });
  afterEach(async () => {
    expect(await pages.clear()).toEqual([]);
  });

  /** Strings are the whole text of an element. */
  const seen = (page: Page, text: string | RegExp) =>
    page.getByText(text, { exact: true }).filter({ visible: true }).waitFor();
  /** The job or batch has come to its end, a good one unless another is named. */
  const ended = (page: Page, list: 'job-path' | 'batch-path', end = 'done') =>
    page.locator(`#${list} .${end}`).waitFor();
  const classify = async (page: Page, text: string) => {
    await page.getByLabel('Text', { exact: true }).fill(text);
    await page.getByRole('button', { name: 'Classify' }).click();
  };
  const states = (page: Page, list: string) => page.locator(`#${list} .state`).allTextContents();
  const file = (rows: number) => {
    const texts = goEmotions();
    const csv = Array.from(
      { length: rows },
      (_, i) => `${i},"${texts[i % texts.length]!.replaceAll('"', '""')}"`,
    );
    return Buffer.from(`nr,review\r\n${csv.join('\r\n')}\r\n`);
  };
  const choose = (page: Page, name: string, buffer: Buffer) =>
    page.getByLabel('Choose a file').setInputFiles({ name, mimeType: '', buffer });
  const start = (page: Page) => page.getByRole('button', { name: 'Label the file' }).click();
  const downloaded = async (page: Page, button = /^Download the/) => {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: button }).click(),
    ]);
    return { name: download.suggestedFilename(), content: readFileSync(await download.path(), 'utf8') };
  };

  describe('one text', () => {
    test('shows labels as bars, the states of the job, and the same request as a curl command', async () => {
      const page = await pages.open(stack.url);
      const text = `it's "utterly" charming, $HOME \`id\` \\ 🎬\nsecond line`;
      await classify(page, text);
      await ended(page, 'job-path');
      expect(await page.locator('.bars .label').allTextContents()).toEqual(['POSITIVE', 'NEGATIVE']);
      const scores = await page.locator('.bars .score').allTextContents();
      expect(scores.reduce((sum, score) => sum + Number.parseFloat(score), 0)).toBeCloseTo(100, 0);
      expect(await states(page, 'job-path')).toEqual(['queued', 'processing', 'succeeded']);
      expect(await page.getByRole('status').first().textContent()).toMatch(/^POSITIVE, \d+\.\d %$/);

      const [command = ''] = (await page.locator('#job-curl').textContent())!.split('\n');
      const words = execFileSync('/bin/sh', ['-c', `curl() { printf '%s\\0' "$@"; }\n${command}`], {
        encoding: 'utf8',
      }).split('\0');
      expect(words).toContain(`${stack.url}/v1/jobs`);
      expect(JSON.parse(words[words.indexOf('-d') + 1]!)).toEqual({ text, top_k: null });
    });

    test('with tokens unknown to the model: shows their share, or why there is no label', async () => {
      const page = await pages.open(stack.url);
      await classify(page, 'what a joy 😀');
      await ended(page, 'job-path');
      expect(await page.locator('#job-hint').textContent()).toBe(
        'Of this text, 25 % is unknown to the model.',
      );
      await classify(page, '😀');
      await seen(page, /only token is not in the model's vocabulary/);
      expect(await page.locator('.bars .label').count()).toBe(0);
    });

    test('examples are in the languages of the chosen model, which the page names', async () => {
      const page = await pages.open(stack.url);
      const examples = page.getByRole('group', { name: 'Examples' }).getByRole('button');
      const languages = () =>
        examples.evaluateAll((all) => all.map((each) => (each as unknown as { lang: string }).lang));
      // The languages of the stand-in are not known.
      await page
        .locator('#model option', { hasText: 'hostile (3 languages)' })
        .waitFor({ state: 'attached' });
      expect(new Set(await languages())).toEqual(new Set(['en']));
      expect(await page.locator('#model-reads').isVisible()).toBe(false);
      await page.getByLabel('Model').first().selectOption('hostile');
      await seen(page, 'Reads English, Russian, and Arabic.');
      expect((await languages()).slice(0, 3)).toEqual(['en', 'ru', 'ar']);
      await examples.nth(1).click();
      await ended(page, 'job-path');
      const text = await page.getByLabel('Text', { exact: true }).inputValue();
      expect(text).toBe('Это отличный результат!');
      expect(await page.locator('#job-hint').textContent()).toBe('');
    });

    test('is submitted with Ctrl + Enter, by keyboard alone', async () => {
      const page = await pages.open(stack.url);
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.keyboard.type('a tedious mess');
      await page.keyboard.press('Control+Enter');
      await seen(page, 'NEGATIVE');
    });

    test('is never parsed as HTML, and neither are labels', async () => {
      const page = await pages.open(stack.url);
      await page.getByLabel('Model').first().selectOption('hostile');
      await classify(page, HOSTILE);
      await ended(page, 'job-path');
      expect((await page.locator('.bars .label').allTextContents()).toSorted()).toContain(HOSTILE);
      expect(await page.locator('#job-curl').textContent()).toContain('"model":"hostile"');
      expect(await page.locator('main img, main script').count()).toBe(0);
      expect(await page.title()).toBe('Amulet: labels for your texts');
    });

    test('that is refused: shows the field and the reason', async () => {
      const page = await pages.open(stack.url);
      await classify(page, '   ');
      await seen(page, /^Text must .* white space/);
      await classify(page, 'x'.repeat(5001));
      await seen(page, /^Text .*5001/);
      await classify(page, 'fine');
      await ended(page, 'job-path');
      expect(await page.locator('#job-problem').isHidden()).toBe(true);
      await classify(page, '');
      await seen(page, 'Text must not be empty');
      expect(await page.locator('#labels').isHidden()).toBe(true);
    });

    test('waits for a worker, and can be canceled meanwhile', async () => {
      await hostile.end();
      const page = await pages.open(stack.url);
      await page.getByLabel('Model').first().selectOption('hostile');
      await classify(page, 'is anybody there?');
      await seen(page, /^No worker serves hostile at the moment\./);
      await page.getByRole('button', { name: 'Cancel' }).click();
      await seen(page, 'The job was canceled');
      expect(await states(page, 'job-path')).toEqual(['queued', 'canceled']);
    });

    test('without a network: shows the problem, and works once the network is back', async () => {
      const page = await pages.open(stack.url);
      await page.context().setOffline(true);
      await classify(page, 'fine');
      await seen(page, 'The API cannot be reached');
      await page.context().setOffline(false);
      await classify(page, 'fine');
      await ended(page, 'job-path');
      expect(await page.locator('#job-problem').isHidden()).toBe(true);
    });
  });

  describe('a file', () => {
    test('gzipped and dropped: the text field is found, and the labels are downloaded', async () => {
      const page = await pages.open(stack.url);
      const content = gzipSync(file(300)).toString('base64');
      const data = await page.evaluateHandle(`(() => {
        const bytes = Uint8Array.from(atob('${content}'), (each) => each.codePointAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], "it's.csv.gz"));
        return data;
      })()`);
      await page.locator('#drop').dispatchEvent('drop', { dataTransfer: data });
      await seen(page, /, gzip$/);
      expect(await page.getByLabel('Field with the text').inputValue()).toBe('review');
      await page.getByLabel('Labels per text').selectOption('all');
      await start(page);
      await ended(page, 'batch-path');
      await seen(page, /^300\sof\s300\srows/);
      expect(await page.locator('#batch-labels .bars li').count()).toBeGreaterThan(0);
      expect(await page.locator('#batch-tally').textContent()).toMatch(/^mean score \d\.\d{3}/);
      const { name, content: labels } = await downloaded(page);
      expect(name).toBe("it's.labels.jsonl");
      const csv = await downloaded(page, /^Download as CSV/);
      expect(csv.name).toBe("it's.labels.csv");
      const [header = '', ...records] = csv.content.trimEnd().split('\n');
      expect(header).toMatch(/^line,(id,)?.*review.*,label,score,labels,/);
      expect(records).toHaveLength(300);
      const rows = labels.trimEnd().split('\n');
      expect([rows.length, JSON.parse(rows[0]!)]).toMatchObject([300, { line: 2, labels: [{}, {}] }]);
      const curl = (await page.locator('#batch-curl').textContent())!.split('\n');
      expect(curl[0]).toContain("-H 'Content-Encoding: gzip' -T 'it'\\''s.csv.gz'");
      expect(curl[2]).toContain(`/results -f -o 'it'\\''s.labels.jsonl'`);

      page.once('dialog', (dialog) => void dialog.accept());
      await page.getByRole('button', { name: 'Remove' }).click();
      await seen(page, 'Choose a file');
      expect(new URL(page.url()).hash).toBe('');
    });

    test('shows its progress, also after a reload; once canceled, finished labels remain', async () => {
      const page = await pages.open(stack.url);
      await choose(page, 'many.csv', file(30_000));
      await start(page);
      await seen(page, /rows\/s · .*\sleft$/);
      expect(Number(await page.getByRole('progressbar').getAttribute('value'))).toBeGreaterThan(0);
      await page.reload();
      await seen(page, 'many.csv');
      await seen(page, /rows\/s · .*\sleft$/);
      await page.locator('#stat-rows', { hasText: /^[1-9]/ }).waitFor();
      await page.locator('#stat-rate', { hasText: /^[1-9]/ }).waitFor();
      await page.getByRole('button', { name: 'Cancel' }).click();
      await ended(page, 'batch-path', 'ended');
      const { name, content } = await downloaded(page);
      expect([name, content.startsWith('{"line":2,"id":')]).toEqual(['many.labels.jsonl', false]);
      expect(content.startsWith('{"line":2,')).toBe(true);
    });

    test('can be canceled during its upload', async () => {
      const page = await pages.open(stack.url);
      const network = await page.context().newCDPSession(page);
      await network.send('Network.enable');
      const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 300_000 };
      await network.send('Network.emulateNetworkConditions', slow);
      await choose(page, 'many.csv', file(30_000));
      await start(page);
      await seen(page, /^[^0].* of 2\.\d MB$/);
      expect(await states(page, 'batch-path')).toEqual(['uploading', 'queued', 'processing', 'completed']);
      await page.getByRole('button', { name: 'Cancel' }).click();
      await page.getByRole('button', { name: 'Label the file' }).waitFor();
      expect(await page.locator('#batch-problem').isHidden()).toBe(true);
      expect(new URL(page.url()).hash).toBe('');
    });

    test('that is refused: shows the reason, and can be tried again', async () => {
      const page = await pages.open(stack.url);
      await choose(page, 'few.csv', file(3));
      await page.getByLabel('Field with the text').fill('texts');
      await start(page);
      await page.locator('#batch-problem', { hasText: 'texts' }).waitFor();
      await page.getByLabel('Field with the text').fill('review');
      await start(page);
      await ended(page, 'batch-path');
    });

    test('whose rows all fail: shows the first errors, and nothing that looks like success', async () => {
      const page = await pages.open(stack.url);
      await choose(page, 'blank.csv', Buffer.from(`id,text\n${'1, \n'.repeat(40)}`));
      await start(page);
      await ended(page, 'batch-path', 'ended');
      await seen(page, 'No labels: all 40 rows failed');
      await seen(page, /^Line 2: the text must contain something/);
      await seen(page, /^Line 4: /);
      await seen(page, '… and 37 more');
      expect(await page.locator('#batch-path .done').count()).toBe(0);
      expect(await page.locator('progress.failed').count()).toBe(1);
      expect((await downloaded(page)).content.trimEnd().split('\n')).toHaveLength(40);
      expect(await page.getByRole('button', { name: 'Download the errors' }).count()).toBe(1);
      const folder = process.env.SCREENSHOTS;
      for (const width of [360, 800, 1280]) {
        await page.setViewportSize({ width, height: 900 });
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
        if (folder !== undefined) {
          await page.screenshot({ path: path.join(folder, `all-failed-${width}.png`), fullPage: true });
        }
      }
      // The next one is not marked by it.
      await page.getByRole('button', { name: 'Another file' }).click();
      await choose(page, 'few.csv', file(3));
      await start(page);
      await ended(page, 'batch-path');
      expect(await page.locator('progress.failed').count()).toBe(0);
    });

    test('in another format than its name says: warns before the upload, and semicolons can be chosen', async () => {
      const page = await pages.open(stack.url);
      await choose(page, 'in.jsonl', Buffer.from('[\n{"text":"a"},\n{"text":"b"}\n]\n'));
      await seen(
        page,
        /^It is one JSON array, not JSON Lines: convert it first: jq -c '\.\[\]' in\.jsonl > in\.lines\.jsonl\.$/,
      );
      await start(page);
      await page.locator('#batch-problem', { hasText: 'the input is one JSON array' }).waitFor();
      await page.getByRole('button', { name: 'Another file' }).click();
      await choose(page, 'in.csv', Buffer.from('id;text\n1;"a, b"\n2;"utterly\ncharming"\n'));
      await seen(page, /with ";": use format “CSV, semicolons”\.$/);
      await page.getByLabel('Format').selectOption('CSV, semicolons');
      expect(await page.locator('#file-doubt').isHidden()).toBe(true);
      expect(await page.getByLabel('Field with the text').inputValue()).toBe('text');
      await start(page);
      await ended(page, 'batch-path');
      await seen(page, /^2\sof\s2\srows/);
      expect(await page.locator('#batch-curl').textContent()).toContain('/v1/batches?delimiter=%3B');
    });

    test('a removed batch: says that it is not there', async () => {
      const page = await pages.open(`${stack.url}/#batch=019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-b-sst2-minilm`);
      await seen(page, 'No such batch');
      await page.getByRole('button', { name: 'Another file' }).click();
      await seen(page, 'Choose a file');
    });
  });

  describe('with API keys', () => {
    const enter = async (page: Page, key: string) => {
      await page.getByLabel('API key', { exact: true }).fill(key);
      await page.getByRole('button', { name: 'Use this key' }).click();
    };

    test('asks for a key, keeps it in this tab only, shows it nowhere, and forgets it', async () => {
      const page = await pages.open(locked.url);
      await enter(page, newKey());
      await seen(page, 'This API key is not known here.');
      await enter(page, keys.alice);
      await page.locator('#stat-workers', { hasText: /[1-9]/ }).waitFor();
      await classify(page, 'fine');
      await ended(page, 'job-path');
      const curl = await page.locator('#job-curl').textContent();
      expect(curl).toContain(' -H "Authorization: Bearer $AMULET_API_KEY" ');
      expect(await page.content()).not.toContain(keys.alice);
      const stored = '[Object.values(sessionStorage), localStorage.length, document.cookie]';
      expect(await page.evaluate(stored)).toEqual([[keys.alice], 0, '']);

      await page.getByRole('button', { name: 'Forget key' }).click();
      expect(await page.evaluate(stored)).toEqual([[], 0, '']);
      await classify(page, 'fine');
      await page.getByRole('button', { name: 'Not now' }).click();
      await seen(page, 'No valid API key');
      await page.getByRole('button', { name: 'Enter API key' }).click();
      await enter(page, keys.alice);
      await classify(page, 'fine');
      await ended(page, 'job-path');
    });

    test.each([
      ['to disk as they come, where the browser can', true],
      ['through memory, and says so, where it cannot', false],
    ])('results are downloaded %s', async (_, direct) => {
      const page = await pages.make();
      // A picker is a window of the browser that no test can click in: here it picks a file of the page's own.
      const picker = `async ({ suggestedName }) =>
        (globalThis.picked = await (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true }))`;
      await page.addInitScript(`globalThis.showSaveFilePicker = ${direct ? picker : 'undefined'}`);
      await page.goto(locked.url);
      await enter(page, keys.alice);
      await choose(page, 'few.csv', file(3));
      await start(page);
      await ended(page, 'batch-path');
      const hint = page.getByText(/this browser holds a download in memory/);
      expect(await hint.count()).toBe(direct ? 0 : 1);
      let content: string;
      if (direct) {
        const button = page.getByRole('button', { name: 'Download the labels' });
        await button.click();
        await page.locator('#download:not([aria-busy])').waitFor();
        content = await page.evaluate<string>('picked.getFile().then((file) => file.text())');
      } else ({ content } = await downloaded(page));
      expect(content.trimEnd().split('\n')).toHaveLength(3);
    });

    test('too many requests: shows when to try again', async () => {
      const page = await pages.open(locked.url);
      await enter(page, keys.slow);
      await page.locator('#stat-workers', { hasText: /\d/ }).waitFor();
      await classify(page, 'one more');
      await seen(page, 'Too many requests');
      await seen(page, /^Try again at \d\d:\d\d:\d\d\.$/);
    });
  });

  describe('accessibility', () => {
    const violations = async (page: Page) => {
      if (!(await page.evaluate('"axe" in globalThis'))) await page.evaluate(axe.source);
      const { violations } = await page.evaluate<axe.AxeResults>('axe.run()');
      return violations.flatMap(({ id, nodes }) => nodes.map(({ html, any }) => ({ id, html, any })));
    };
    const desktop = { width: 1280, height: 800 };
    const phone = { width: 360, height: 780 };
    /** Light and dark, on a desk and on a phone: nothing that axe finds, and nothing wider than the screen. */
    const inspect = async (page: Page) => {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        for (const size of [desktop, phone]) {
          await page.setViewportSize(size);
          expect([colorScheme, size, await violations(page)]).toEqual([colorScheme, size, []]);
          expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(size.width);
        }
      }
    };

    test('the page at first', async () => {
      const page = await pages.open(stack.url);
      await page.locator('#stat-workers', { hasText: /\d/ }).waitFor();
      await inspect(page);
    });

    test('the page with results and problems', async () => {
      const page = await pages.open(stack.url);
      await classify(page, 'fine');
      await ended(page, 'job-path');
      await classify(page, '');
      await page.locator('#job-problem').waitFor();
      await choose(page, `${'long'.repeat(30)}.csv`, file(3));
      await start(page);
      await ended(page, 'batch-path');
      await inspect(page);
    });

    test('the page with the dialog for a key', async () => {
      const page = await pages.open(locked.url);
      await page.getByLabel('API key', { exact: true }).waitFor();
      expect(await violations(page)).toEqual([]);
    });
  });
});
