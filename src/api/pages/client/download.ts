/**
 * Results of any size, from the API to a file. Without a key a plain link does it best: the browser streams it to disk. A link
 * carries no key, so with one the answer is fetched here, and goes to disk as it comes where the browser can do that
 * (Chromium), else through the memory of this tab.
 */
import { urlOf, type Api } from './api.ts';
import { create } from './dom.ts';

/** By then a browser has taken hold of a download that a click began. */
const TAKEN_MS = 60_000;

type SavePicker = (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;

/** Not in every browser, and so not in TypeScript's library. */
const savePicker = (): SavePicker | undefined =>
  (globalThis as { showSaveFilePicker?: SavePicker }).showSaveFilePicker;

/** Whether a download goes through the memory of this tab. */
export const needsMemory = (api: Api): boolean => api.hasKey && savePicker() === undefined;

/** @throws what Api.send() throws; nothing when the person thinks better of it */
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
  // Asked before anything is fetched: a browser opens no picker a while after the click.
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
