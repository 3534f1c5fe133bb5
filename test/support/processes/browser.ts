/** A real browser for tests: CHROMIUM, or a Chromium on the PATH. Nothing is downloaded. */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';

const NAMES = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];

/** Of whatever is waited for: shorter than that of a test, to say what was missing. */
const TIMEOUT_MS = 15_000;
/** What a browser says about every answer that is an error; the tests look at the page for those. */
const ABOUT_ANSWERS = 'Failed to load resource:';

/** Path of a browser; undefined when there is none. */
export function findChromium(): string | undefined {
  const given = process.env.CHROMIUM;
  if (given) return given;
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  return NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name))).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Pages in one browser, each with storage of its own, and what goes wrong in them. */
export class Pages {
  readonly #browser: Browser;
  /** Errors of scripts, and what the browser has refused to do (Content-Security-Policy). */
  readonly #complaints: string[] = [];

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  static async start(executablePath: string): Promise<Pages> {
    return new Pages(await chromium.launch({ executablePath }));
  }

  /** An empty page. */
  async make(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await this.#browser.newContext({ reducedMotion: 'reduce', ...options });
    context.setDefaultTimeout(TIMEOUT_MS);
    const page = await context.newPage();
    page.on('pageerror', (error) => this.#complaints.push(String(error)));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type()) && !message.text().startsWith(ABOUT_ANSWERS))
        this.#complaints.push(message.text());
    });
    return page;
  }

  /** Closes all pages, and says what went wrong in them. */
  async clear(): Promise<string[]> {
    await Promise.all(this.#browser.contexts().map((context) => context.close()));
    return this.#complaints.splice(0);
  }

  async open(url: string, options?: BrowserContextOptions): Promise<Page> {
    const page = await this.make(options);
    await page.goto(url);
    return page;
  }

  async stop(): Promise<void> {
    await this.#browser.close();
  }
}
