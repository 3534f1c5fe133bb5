/** A model folder served as by a worker, in this process: model processes, probe, batcher and classifier, without the queue. */
import { pino } from 'pino';
import type { RowResult } from '../../../src/shared/contract/results.ts';
import { loadConfig } from '../../../src/shared/runtime/config.ts';
import { Batcher } from '../../../src/worker/inference/batcher.ts';
import { Classifier, type TextRow } from '../../../src/worker/inference/classifier.ts';
import { EnginePool, optionsOf } from '../../../src/worker/inference/engine-pool.ts';
import { labelsOf, readModelFolder, type ModelFolder } from '../../../src/worker/inference/model-folder.ts';
import { TextTokenizer } from '../../../src/worker/inference/tokenizer.ts';
import { batcherOptions, classifyFirstText, probeModel, type ModelProbe } from '../../../src/worker/inference/model-probe.ts';

export interface ServedModel {
  model: ModelFolder;
  labels: string[];
  probe: ModelProbe;
  /** The result of one text, in the interactive lane. */
  classify: (text: string, options?: Options) => ReturnType<Classifier['classify']>;
  /** Of several at once, in the lane of batches. */
  classifyAll: (texts: string[]) => Promise<RowResult[]>;
  stop: () => Promise<void>;
}

type Options = Partial<Parameters<Classifier['classify']>[1]>;

/** @throws StartupError, as a worker does */
export async function serveModel(
  place: string,
  invariance: 'measured' | 'strict' = 'measured',
): Promise<ServedModel> {
  const model = readModelFolder(place, undefined);
  const engines = await EnginePool.start(1, {
    ...optionsOf(model, loadConfig({})),
    logger: pino({ level: 'silent' }),
    onGiveUp: () => {},
  });
  try {
    const named = labelsOf(model, engines.outputs);
    const probe = await probeModel({
      model,
      tokenizer: new TextTokenizer(model.folder, model.maxTokens),
      engines,
      apply: named.apply,
      invariance,
    });
    const budgets = { interactive: 256, low: 256, bulk: 256 };
    const classifier = new Classifier({
      tokenizer: probe.tokenizer,
      ...named,
      apply: probe.apply,
      applied: probe.applied,
      maxTokens: probe.maxTokens,
      unreadable: 'classify',
      batcher: new Batcher<TextRow, Float32Array>({
        run: (rows, lane) =>
          engines.run(
            rows.map(({ encoded }) => encoded),
            { urgent: lane === 'interactive' },
          ),
        budgets,
        ...batcherOptions(probe, engines, budgets.bulk),
      }),
    });
    await classifyFirstText(classifier);
    const { signal } = new AbortController();
    return {
      model,
      labels: named.labels,
      probe,
      classify: (text, options) =>
        classifier.classify({ text }, { top_k: null, ...options }, 'interactive', signal),
      classifyAll: async (texts) => [...(await classifier.classifyEach(texts, { top_k: null }, signal, () => {}))],
      stop: () => engines.stop(),
    };
  } catch (error) {
    await engines.stop();
    throw error;
  }
}

/** Scores by label. @throws when the text has an error in its place */
export function scoresOf(result: Awaited<ReturnType<ServedModel['classify']>>): Record<string, number> {
  if ('error' in result) throw new Error(result.error.message);
  return Object.fromEntries((result.labels ?? []).map(({ label, score }) => [label, score]));
}

/** The largest difference between the scores of two results. */
export function difference(a: Record<string, number>, b: Record<string, number>): number {
  return Math.max(...Object.keys(a).map((label) => Math.abs((a[label] ?? NaN) - (b[label] ?? NaN))));
}
