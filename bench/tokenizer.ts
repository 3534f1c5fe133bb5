/**
 * CPU time of the tokenizers of each model family on texts made to be expensive: the total per text, and the longest step that
 * holds the event loop. The table shows the worst text beside prose.
 */
import { Encoder } from '../src/worker/inference/tokenizer/encoder.ts';
import { HOSTILE_TEXTS } from '../test/support/inputs/hostile-texts.ts';
import { tokenizerGoldens } from '../test/support/models/tokenizer-goldens.ts';
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
  return Promise.resolve(figures);
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
