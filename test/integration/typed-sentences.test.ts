/** The multilingual model, through the service, on sentences that people might type: written for this test, in no training data. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Job } from '../../src/shared/contract/jobs.ts';
import { Stack } from '../support/processes/stack.ts';

const FOLDER = new URL('../fixtures/typed-sentences/', import.meta.url);
const TEXTS_PER_JOB = 256;
/** Of these languages nine in ten positive and negative sentences have to be right, of the others eight in ten. */
const FIRST_LANGUAGES = ['ru', 'en', 'de', 'fr', 'es'];

interface Sentence {
  lang: string;
  label: string;
  text: string;
}

const sentences: Sentence[] = readdirSync(FOLDER)
  .sort()
  .flatMap((name) => readFileSync(new URL(name, FOLDER), 'utf8').trimEnd().split('\n'))
  .map((line) => JSON.parse(line) as Sentence);
const languages = [...new Set(sentences.map(({ lang }) => lang))];

let stack: Stack;
/** Sentences and the label that each got, in lower case, or the error code. */
let labelled: (Sentence & { said: string })[];

beforeAll(async () => {
  const env = { MODEL_DIR: 'models/sentiment-multilingual' };
  stack = await Stack.start({ redisUrl: inject('redisUrl'), env });
  labelled = (await labelsOf(sentences.map(({ text }) => text))).map((said, i) => ({
    ...sentences[i]!,
    said,
  }));
});
afterAll(() => stack.stop());

async function labelsOf(texts: string[]): Promise<string[]> {
  const labels: string[] = [];
  for (let start = 0; start < texts.length; start += TEXTS_PER_JOB) {
    const part = texts.slice(start, start + TEXTS_PER_JOB);
    const { body } = await stack.post<Job>('/v1/jobs', { texts: part }, { Prefer: 'wait=60' });
    labels.push(...body.results!.map((row) => ('error' in row ? row.error.code : row.label.toLowerCase())));
  }
  return labels;
}

/** Fails with the sentences that are wrong when less than `least` of them are right. */
function expectRight(chosen: (Sentence & { said: string })[], least: number): void {
  expect(chosen).not.toHaveLength(0);
  const wrong = chosen.filter(({ label, said }) => label !== said);
  const list = wrong.map(({ label, said, text }) => `${label}, not ${said}: ${text}`).join('\n');
  expect(1 - wrong.length / chosen.length, list).toBeGreaterThanOrEqual(least);
}

describe('positive and negative sentences', () => {
  test.each(languages)('%s', (lang) => {
    const polar = labelled.filter((row) => row.lang === lang && row.label !== 'neutral');
    expectRight(polar, FIRST_LANGUAGES.includes(lang) ? 0.9 : 0.8);
  });
});

test('six in ten plain facts, questions and requests are neutral', () => {
  expectRight(
    labelled.filter(({ label }) => label === 'neutral'),
    0.6,
  );
});

test.each([
  ['Это отличный результат!', 'positive'],
  ['😀', 'positive'],
  ['😡', 'negative'],
])('%s is %s', (text, label) => {
  expect(labelled.find((row) => row.text === text)).toMatchObject({ said: label });
});
