/** Serves the page at `/` and its files from this process, without a CDN or a build step. */
import { readFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { etag } from 'hono/etag';
import { secureHeaders } from 'hono/secure-headers';
import type { App } from '../env.ts';
import { page } from '../pages/page.ts';

const PAGES = new URL('../pages/', import.meta.url);
/** The modules of src/shared that the page runs, so that it judges files and states as the API does. */
const SHARED_MODULES = [
  'bulk/convert.ts',
  'bulk/file-formats.ts',
  'bulk/json-problem.ts',
  'bulk/sniff-bytes.ts',
  'bulk/sniff-records.ts',
  'bulk/sniff.ts',
  'contract/languages.ts',
  'contract/quantities.ts',
  'contract/states.ts',
  'contract/text.ts',
];
const SELF = "'self'";
const NONE = "'none'";

/** The page has nothing inline, loads nothing from elsewhere, and parses no text as HTML. */
const POLICY = {
  defaultSrc: [NONE],
  scriptSrc: [SELF],
  styleSrc: [SELF],
  imgSrc: [SELF],
  connectSrc: [SELF],
  baseUri: [NONE],
  formAction: [NONE],
  frameAncestors: [NONE],
  requireTrustedTypesFor: ["'script'"],
  trustedTypes: [NONE],
};

/** @param version shown at the bottom */
export function pageRoutes(app: App, version: string): void {
  app.get('/', secureHeaders({ contentSecurityPolicy: POLICY, strictTransportSecurity: false }), (c) =>
    c.html(page(version)),
  );
  app.get('/page/:file', etag(), async (c) => {
    const asset = await readAsset(c.req.param('file'));
    if (!asset) return c.notFound();
    return c.body(asset.content, 200, { 'Content-Type': asset.type, 'Cache-Control': 'no-cache' });
  });
}

interface Asset {
  content: string;
  type: string;
}

/** Media type and folder by file extension. */
const KINDS = new Map([
  ['css', { type: 'text/css; charset=utf-8', folder: '' }],
  ['svg', { type: 'image/svg+xml', folder: '' }],
  ['ts', { type: 'text/javascript; charset=utf-8', folder: 'client/' }],
]);

const assets = new Map<string, Promise<Asset>>();

/** @returns undefined when there is no such file */
async function readAsset(name: string): Promise<Asset | undefined> {
  // The pattern refuses names with a folder in them.
  const [, extension = ''] = /^[a-z-]+\.([a-z]+)$/.exec(name) ?? [];
  const kind = KINDS.get(extension);
  if (!kind) return undefined;
  const shared = SHARED_MODULES.find((module) => module.endsWith(`/${name}`));
  const file = new URL(shared ? `../../shared/${shared}` : kind.folder + name, PAGES);
  const asset = assets.get(name) ?? load(file, kind.type);
  assets.set(name, asset);
  return asset.catch((error: unknown) => {
    assets.delete(name);
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
}

/** Reads a file. Scripts are TypeScript modules; browsers get them as Node runs them, with spaces in place of the types. */
async function load(file: URL, type: string): Promise<Asset> {
  const content = await readFile(file, 'utf8');
  if (!file.pathname.endsWith('.ts')) return { content, type };
  // Below /page all modules are in one folder.
  const script = stripTypeScriptTypes(content).replaceAll(
    /(from ')(?:\.\.\/)+(?:shared\/)?[a-z]+\//g,
    '$1./',
  );
  return { content: script, type };
}
