/** The shipped models in README.md: their languages and labels are those of their files, and each is in the image. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { languageList } from '../../src/shared/contract/languages.ts';
import { SETTINGS } from '../../src/shared/runtime/settings/settings.ts';
import { readModelFolder } from '../../src/worker/inference/model-folder.ts';

const rows = [
  ...readFileSync('README.md', 'utf8').matchAll(
    /^\| \[`([\w-]+)`\]\(models\/.*?\)(.*?) \| (.*?) \| (.*?) \|$/gm,
  ),
].map(([, name = '', note = '', reads = '', labels = '']) => ({ name, note, reads, labels }));

test('lists three, of which the first is the default', () => {
  expect(rows.map(({ note }) => note)).toEqual([', the default', '', '']);
  expect(SETTINGS.MODEL_DIR.default).toBe(`models/${rows[0]?.name}`);
});

describe.each(rows)('$name', ({ name, reads, labels }) => {
  const { amulet, id2label } = readModelFolder(`models/${name}`, undefined);

  test('reads the languages of its amulet.json', () => {
    const languages = amulet.languages ?? [];
    const [listed = ''] = reads.split('; ');
    if (languages.length === 1) expect(listed).toBe(`${languageList(languages)} alone`);
    else {
      const names = languages.map((code) => languageList([code]));
      const first = listed.split(', ');
      expect(names).toEqual(expect.arrayContaining(first));
      const others = /; less surely (\d+) other languages$/.exec(reads)?.[1];
      expect(Number(others ?? 0)).toBe(names.length - first.length);
    }
  });

  test('has the labels of its config.json', () => {
    const named = [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label);
    if (named.length > 0) expect(named.toSorted()).toEqual([...id2label.values()].toSorted());
    else expect(labels).toMatch(new RegExp(`^${id2label.size} `));
  });

  test('is in the image', () => {
    expect(readFileSync('Dockerfile', 'utf8')).toContain(`COPY models/${name} ./models/${name}\n`);
    expect(readFileSync('.dockerignore', 'utf8')).toContain(`!models/${name}\n`);
  });
});
