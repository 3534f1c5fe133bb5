/**
 * CPU time of tokenizers: of each model family on texts made to be expensive, the total per text and the longest step that holds the
 * event loop (the table shows the worst text beside prose); and of WordPiece and Unigram vocabularies on ordinary texts by language.
 */
import { Encoder } from '../src/worker/inference/tokenizer/encoder.ts';
import { HOSTILE_TEXTS } from '../test/support/inputs/hostile-texts.ts';
import { TextTokenizer } from '../src/worker/inference/tokenizer.ts';
import { tokenizerGoldens } from '../test/support/models/tokenizer-goldens.ts';
import { unigramGoldens } from '../test/support/models/unigram-goldens.ts';
import { archiveTexts } from './archive.ts';
import type { Figures } from './figures.ts';

/** Lengths in code points: the default limit of a text, and a long document. */
const SIZES = [5000, 100_000];
/** Tokens that most models read, without special ones. */
const LIMIT = 510;
const FAMILIES = [
  'BERT',
  'RoBERTa',
  'ModernBERT',
  'Llama 2, Mistral',
  'XLM-R',
  'DeBERTa v2 and v3',
  'ALBERT',
  'T5',
];
const REPEATS = 3;

interface Cost {
  totalMs: number;
  longestMs: number;
}

export function tokenizer(): Promise<Figures> {
  const figures: Figures = {};
  for (const family of FAMILIES) {
    const golden = tokenizerGoldens.tokenizers.find(({ name }) => name === `as saved: ${family}`);
    if (!golden) throw new Error(`no tokenizer of ${family}`);
    const encoder = new Encoder(golden.definition);
    for (const characters of SIZES) {
      const costs = Object.entries(HOSTILE_TEXTS).map(([kind, make]) => ({
        kind,
        ...costOf(encoder, make(characters)),
      }));
      const worst = (by: keyof Cost) => costs.reduce((a, b) => (b[by] > a[by] ? b : a));
      const [all, step] = [worst('totalMs'), worst('longestMs')];
      const name = `${family}, ${characters} characters`;
      figures[`${name}: prose (ms)`] = costs.find(({ kind }) => kind === 'prose')?.totalMs ?? 0;
      figures[`${name}: worst (ms)`] = `${all.totalMs} (${all.kind})`;
      figures[`${name}: longest step (ms)`] = `${step.longestMs} (${step.kind})`;
    }
  }
  for (const [texts, costs] of Object.entries(ordinaryCosts()))
    for (const [name, us] of Object.entries(costs)) figures[`${texts}: ${name} (µs a text)`] = us;
  return Promise.resolve(figures);
}

const ROUNDS = 7;
/** A round repeats its texts for so long. */
const ROUND_US = 20_000;
const ARCHIVE_TEXTS = 3000;

let folders: readonly string[] = [];

/** Measures the tokenizers of these model folders, too. */
export function useTokenizers(more: readonly string[]): void {
  folders = more;
}

/** CPU time of a text, by kind of text and tokenizer: the minimum of rounds in turn, so that all are measured under the same load. */
function ordinaryCosts(): Record<string, Record<string, number>> {
  const small = new Encoder(unigramGoldens.definition);
  const encoders = new Map<string, (text: string) => unknown>();
  for (const folder of ['models/sst2-minilm', ...folders]) {
    const start = process.cpuUsage();
    const tokenizer = new TextTokenizer(folder, LIMIT + 2);
    const pieces = tokenizer.vocabulary.largest + 1;
    const name = `${tokenizer.kind} of ${pieces} pieces, loaded in ${Math.round(usSince(start) / 1000)} ms`;
    encoders.set(name, (text) => tokenizer.encodeNow(text));
  }
  encoders.set('Unigram of the golden file', (text) => small.encode(text, LIMIT));
  const sets = { archive: archiveTexts(ARCHIVE_TEXTS), ...unigramGoldens.texts };
  return Object.fromEntries(
    Object.entries(sets).map(([name, texts]) => {
      const least: Record<string, number> = {};
      for (let round = 0; round < ROUNDS; round++)
        for (const [encoder, encode] of encoders)
          least[encoder] = Math.min(least[encoder] ?? Infinity, usPerText(encode, texts));
      return [
        name,
        Object.fromEntries(Object.entries(least).map(([key, us]) => [key, Number(us.toFixed(1))])),
      ];
    }),
  );
}

function usPerText(encode: (text: string) => unknown, texts: readonly string[]): number {
  const start = process.cpuUsage();
  let encoded = 0;
  do {
    for (const text of texts) encode(text);
    encoded += texts.length;
  } while (usSince(start) < ROUND_US);
  return usSince(start) / encoded;
}

function usSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return user + system;
}

/** The minimum of some runs: other load on the machine only adds to it. */
function costOf(encoder: Encoder, text: string): Cost {
  const runs = Array.from({ length: REPEATS }, () => {
    const steps = encoder.encodeInSteps(text, LIMIT);
    const run: Cost = { totalMs: 0, longestMs: 0 };
    for (let done = false; !done;) {
      const start = process.cpuUsage();
      done = steps.next().done === true;
      const { user, system } = process.cpuUsage(start);
      run.totalMs += (user + system) / 1000;
      run.longestMs = Math.max(run.longestMs, (user + system) / 1000);
    }
    return run;
  });
  const least = (by: keyof Cost) => Number(Math.min(...runs.map((run) => run[by])).toFixed(1));
  return { totalMs: least('totalMs'), longestMs: least('longestMs') };
}
