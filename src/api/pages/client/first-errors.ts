/** The messages of the first failed rows of a batch, from the start of its results. */
import type { Api } from './api.ts';

/** Messages shown. */
const SHOWN = 3;
/** Characters of the results that are read, at most. */
const MAX_CHARS = 64 * 1024;

/**
 * @param path of the results endpoint
 * @returns such as `Line 2: the text must not be empty`
 * @throws as Api.send()
 */
export async function firstErrors(api: Api, path: string, signal: AbortSignal): Promise<string[]> {
  const { body } = await api.send(path, { signal });
  if (!body) return [];
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  try {
    while (text.length < MAX_CHARS && errorsIn(text).length < SHOWN) {
      const { value } = await reader.read();
      if (value === undefined) break;
      text += decoder.decode(value, { stream: true });
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
  return errorsIn(text);
}

/** @param ndjson results; the last line may be cut */
function errorsIn(ndjson: string): string[] {
  const lines = ndjson.split('\n').slice(0, -1);
  return lines.flatMap((line) => explain(line)).slice(0, SHOWN);
}

function explain(line: string): string[] {
  // The server sends empty lines to keep the connection alive.
  if (line.trim() === '') return [];
  const row = JSON.parse(line) as { line: number; error?: { message: string } };
  return row.error ? [`Line ${row.line}: ${row.error.message}`] : [];
}
