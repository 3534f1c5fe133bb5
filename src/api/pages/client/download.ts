/**
 * Downloads results of any size to a file. Without an API key a link does: the browser streams it to disk. A link carries no
 * key, so with a key the response is fetched here and streamed to disk where the browser can do that (Chromium), or else held
 * in the memory of this tab.
 */
import { urlOf, type Api } from './api.ts';
import { create } from './dom.ts';

/** By then the browser has started the download. */
const TAKEN_MS = 60_000;

type SavePicker = (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;

/** Missing in some browsers, and therefore in TypeScript's library. */
const savePicker = (): SavePicker | undefined =>
  (globalThis as { showSaveFilePicker?: SavePicker }).showSaveFilePicker;

/** Whether a download is held in the memory of this tab. */
export const needsMemory = (api: Api): boolean => api.hasKey && savePicker() === undefined;

/** @throws as Api.send(); returns without an error when the person cancels the dialog */
export async function download(api: Api, path: string, name: string): Promise<void> {
  if (!api.hasKey) {
    follow(urlOf(path), name);
    return;
  }
  const pick = savePicker();
  if (!pick) {
    const url = URL.createObjectURL(await (await api.send(path)).blob());
    follow(url, name);
    setTimeout(() => URL.revokeObjectURL(url), TAKEN_MS);
    return;
  }
  // Before the fetch: browsers open a picker only shortly after a click.
  const handle = await pick.call(globalThis, { suggestedName: name }).catch(ifAborted);
  if (!handle) return;
  const response = await api.send(path);
  await response.body?.pipeTo(await handle.createWritable());
}

function ifAborted(error: unknown): undefined {
  if (error instanceof DOMException && error.name === 'AbortError') return undefined;
  throw error;
}

function follow(url: string, name: string): void {
  create('a', { attributes: { href: url, download: name } }).click();
}
