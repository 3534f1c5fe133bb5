/** Lists that come in pages, newest first. */
import type { Server } from './server.ts';

/** Items of a page: as many as the server gives. */
const PAGE = 100;

/** @param key under which a page has its items */
export async function* listAll<T>(
  server: Server,
  path: string,
  key: string,
  filter: Record<string, string | undefined>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  let after: string | undefined;
  do {
    const query = { ...filter, limit: PAGE, after };
    const page = await server.json<Record<string, unknown>>({ method: 'GET', path, query, signal });
    yield* page[key] as T[];
    after = (page.next as string | null) ?? undefined;
  } while (after !== undefined);
}
