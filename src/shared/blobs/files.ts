/** Helpers for file system calls and their error codes. */
import { open, stat } from 'node:fs/promises';

export function codeOf(thrown: unknown): string | undefined {
  return (thrown as NodeJS.ErrnoException | undefined)?.code;
}

/** Resolves to undefined when `call` fails with one of these codes. */
export async function ignoring<T>(call: Promise<T>, ...codes: string[]): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (codes.includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

export async function isFile(target: string): Promise<boolean> {
  return stat(target).then(
    (stats) => stats.isFile(),
    () => false,
  );
}

export async function syncFolder(folder: string): Promise<void> {
  // A folder that was removed meanwhile holds nothing to lose.
  const handle = await ignoring(open(folder), 'ENOENT');
  if (handle === undefined) return;
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
