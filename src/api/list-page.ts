/** Pages of a list whose entries may be gone, or not match a filter: reads slices of the list until a page is full. */

/** Entries that are read together once the first slice was not enough. */
const SLICE_ENTRIES = 200;

/** The entries that a caller wants to see. */
export interface ListOptions<Status extends string> {
  /** Entries of a page, at most. */
  limit: number;
  /** Id that the page comes after; undefined: the first page. */
  after?: string | undefined;
  status?: Status | undefined;
  model?: string | undefined;
}

export interface Slice<Entry> {
  /** The entries of the slice that exist and match. */
  found: Entry[];
  /** Id of the last entry that was looked at; undefined when there was none. */
  last: string | undefined;
  /** No entry comes after it. */
  atEnd: boolean;
}

export interface PageOptions {
  /** Entries of a page, at most. */
  limit: number;
  /** Id that the page comes after; undefined: the first page. */
  after: string | undefined;
  /** Whether a filter is set: the first slice is large then, because many entries may not match. */
  filtered: boolean;
  /** Entries that one page may look at: beyond it the page stays short, or empty, and has a next one all the same. */
  maxLooked: number;
}

/** @param readSlice reads `count` entries of the list after the id `after` */
export async function toPage<Entry extends { id: string }>(
  { limit, after, filtered, maxLooked }: PageOptions,
  readSlice: (after: string | undefined, count: number) => Promise<Slice<Entry>>,
): Promise<{ entries: Entry[]; next: string | null }> {
  const found: Entry[] = [];
  let from = after;
  let atEnd = false;
  // One entry more than the page has room for tells whether there is a next page.
  let count = filtered ? Math.max(limit + 1, SLICE_ENTRIES) : limit + 1;
  for (let looked = 0; found.length <= limit && looked < maxLooked && !atEnd; looked += count) {
    if (looked > 0) count = Math.max(limit + 1, SLICE_ENTRIES);
    const slice = await readSlice(from, count);
    found.push(...slice.found);
    from = slice.last ?? from;
    ({ atEnd } = slice);
  }
  const entries = found.slice(0, limit);
  if (found.length > limit) return { entries, next: entries.at(-1)?.id ?? null };
  return { entries, next: atEnd ? null : (from ?? null) };
}
