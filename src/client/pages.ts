/** Lists that come in pages, newest first. */
import type { Server } from './server.ts';

/** Items per page: the server's maximum. */
const PAGE = 100;

/** @param key name of the items in a page */
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
