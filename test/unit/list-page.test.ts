/** Pages of a list in which entries may be gone or not match. */
import { expect, test } from 'vitest';
import { toPage, type PageOptions } from '../../src/api/list-page.ts';

/** A list of ids from `size` down to 1, of which those that `isWanted` are found; counts what was read. */
function list(size: number, isWanted: (n: number) => boolean = () => true) {
  const counts: number[] = [];
  const readSlice = (after: string | undefined, count: number) => {
    counts.push(count);
    const first = after === undefined ? size : Number(after) - 1;
    const ids = Array.from({ length: Math.max(0, Math.min(count, first)) }, (_, i) => first - i);
    const found = ids.filter(isWanted).map((n) => ({ id: String(n) }));
    return Promise.resolve({ found, last: ids.at(-1)?.toString(), atEnd: ids.length < count });
  };
  return { counts, readSlice };
}

const options = (given: Partial<PageOptions>): PageOptions => ({
  limit: 3,
  after: undefined,
  filtered: false,
  maxLooked: 1000,
  ...given,
});

async function allPages(size: number, given: Partial<PageOptions>, isWanted?: (n: number) => boolean) {
  const pages: string[][] = [];
  let after: string | undefined;
  do {
    const { readSlice } = list(size, isWanted);
    const { entries, next } = await toPage(options({ ...given, after }), readSlice);
    pages.push(entries.map(({ id }) => id));
    after = next ?? undefined;
  } while (after !== undefined);
  return pages;
}

test('a list is read page by page, each entry once; the last page has no next one', async () => {
  expect(await allPages(7, {})).toEqual([['7', '6', '5'], ['4', '3', '2'], ['1']]);
  expect(await allPages(6, {})).toEqual([
    ['6', '5', '4'],
    ['3', '2', '1'],
  ]);
  expect(await allPages(0, {})).toEqual([[]]);
});

test('a page that is full at once costs one read of one entry more than it shows', async () => {
  const { counts, readSlice } = list(100);
  expect((await toPage(options({}), readSlice)).next).toBe('98');
  expect(counts).toEqual([4]);
});

test('entries that are gone are filled up from larger slices', async () => {
  const { counts, readSlice } = list(500, (n) => n <= 300);
  const { entries, next } = await toPage(options({}), readSlice);
  expect(entries.map(({ id }) => id)).toEqual(['300', '299', '298']);
  expect([next, counts]).toEqual(['298', [4, 200]]);
});

test('a filtered page reads large slices from the first on, and each match comes once', async () => {
  const isWanted = (n: number) => n % 50 === 0;
  const { counts, readSlice } = list(400, isWanted);
  await toPage(options({ filtered: true }), readSlice);
  expect(counts).toEqual([200]);
  expect((await allPages(400, { filtered: true }, isWanted)).flat()).toEqual(
    [400, 350, 300, 250, 200, 150, 100, 50].map(String),
  );
});

test('a page that has looked at enough entries is short and has a next one all the same', async () => {
  const { counts, readSlice } = list(5000, (n) => n === 1);
  const page = await toPage(options({ filtered: true, maxLooked: 600 }), readSlice);
  expect([page.entries, page.next, counts]).toEqual([[], '4401', [200, 200, 200]]);
  expect((await allPages(5000, { filtered: true }, (n) => n === 1)).flat()).toEqual(['1']);
});
