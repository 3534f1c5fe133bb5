/** Checks a model folder: loads and tries the model as a worker does at its start, and reports every problem it finds. */
import { statSync } from 'node:fs';
import path from 'node:path';
import { loadConfig, type Config } from '../../shared/runtime/config.ts';
import { SETTINGS } from '../../shared/runtime/settings/settings.ts';
import { readVariables } from '../../shared/runtime/environment.ts';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { createLogger } from '../../shared/runtime/logger.ts';
import type { ModelReport } from '../../shared/contract/model-report.ts';
import { Batcher } from '../inference/batcher.ts';
import { chooseBudgets, timeBatches } from '../inference/calibration.ts';
import { Classifier, type TextRow } from '../inference/classifier.ts';
import { ModelCrashed } from '../inference/engine.ts';
import { EnginePool, optionsOf } from '../inference/engine-pool.ts';
import { BY_ARGUMENTS } from '../inference/model-files.ts';
import {
  labelsOf,
  readModelFolder,
  type ModelAnswering,
  type ModelFolder,
} from '../inference/model-folder.ts';
import { coverageOf } from './script-coverage.ts';
import { TextTokenizer } from '../inference/tokenizer.ts';
import { batcherOptions, probeModel, type ModelProbe } from '../inference/model-probe.ts';

/** Samples that are classified by default: short, and not all in one script. */
const TEXTS = ['I love this.', 'What a waste of time!', 'Когда начинается концерт? 图书馆在哪里？'];

/**
 * @param folder the model folder, or an ONNX file in it
 * @param file the ONNX file to use; undefined: the usual one
 * @param texts to classify; none: a few samples
 */
export async function checkModel(
  folder: string,
  file: string | undefined,
  texts: readonly string[],
): Promise<ModelReport> {
  const report: ModelReport = { folder, problems: [] };
  await attempt(report, () => check(report, file, texts.length > 0 ? texts : TEXTS));
  return report;
}

/**
 * The settings from the environment and `.env`. Not MODEL_ENV from `.env`: a model may be checked in a folder made by somebody
 * else, and its files must not decide which environment variables of the user the model gets.
 */
function readSettings(report: ModelReport): Record<string, string> {
  const { values, warnings } = readVariables(Object.keys(SETTINGS));
  report.warnings = [...warnings];
  const taken = [...values].filter(([name, { from }]) => from === 'environment' || name !== 'MODEL_ENV');
  return Object.fromEntries(taken.map(([name, { value }]) => [name, value]));
}

async function check(report: ModelReport, file: string | undefined, texts: readonly string[]): Promise<void> {
  const config = await attempt(report, () => loadConfig(readSettings(report)));
  const model = await attempt(report, () => readModelFolder(report.folder, file, BY_ARGUMENTS));
  if (!config || !model) return;
  report.files = model.weightFiles.map((name) => ({
    name: path.relative(model.folder, name),
    bytes: statSync(name).size,
  }));
  report.revision = model.revision;
  report.family = model.family ?? null;
  report.problem_type = model.problemType ?? null;
  report.max_tokens = model.maxTokens;
  report.unreadable_text = model.amulet.unreadable_text;
  if (model.amulet.task !== undefined) report.task = model.amulet.task;
  report.languages = model.amulet.languages ?? null;

  const { languages } = model.amulet;
  const tokenizer = await attempt(
    report,
    () => new TextTokenizer(model.folder, model.maxTokens, { languages }),
  );
  if (tokenizer) report.tokenizer = tokenizer.kind;
  const start = performance.now();
  const engines = await attempt(report, () => startEngine(report, model, config));
  if (!engines) return;
  report.load_ms = Math.round(performance.now() - start);
  if (engines.graph) report.graph = engines.graph;
  try {
    const labels = await attempt(report, () => labelsOf(model, engines.outputs));
    if (labels) Object.assign(report, labels);
    if (!tokenizer || !labels) return;
    const invariance = config.BATCH_INVARIANCE;
    const probe = await attempt(report, () =>
      probeModel({ model, tokenizer, engines, apply: labels.apply, invariance }),
    );
    if (!probe) return;
    const { warnings = [] } = report;
    Object.assign(report, toReport(probe), { warnings: [...warnings, ...probe.warnings] });
    await classify(report, texts, { model, engines, answering: labels, probe });
    if (report.problems.length === 0) await attempt(report, () => calibrate(report, engines, probe, config));
  } finally {
    await engines.stop();
  }
}

function toReport(probe: ModelProbe): Partial<ModelReport> {
  return {
    max_tokens: probe.maxTokens,
    tried_tokens: probe.triedTokens,
    batching: probe.batching,
    batch_dependence: probe.batchDependence,
    applied: probe.applied ?? null,
    apply: probe.apply,
  };
}

/** Runs a step. @returns undefined when it fails, which is then a problem in the report */
async function attempt<T>(report: ModelReport, step: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    const known = error instanceof StartupError || error instanceof ModelCrashed;
    const { name, message } = toError(error);
    // One line without the stack, which is of no use to the owner of a model.
    report.problems.push(known ? message : `the check failed: ${name}: ${message.replace(/\s+/g, ' ')}`);
    return undefined;
  }
}

function startEngine(report: ModelReport, model: ModelFolder, config: Config): Promise<EnginePool> {
  return EnginePool.start(1, {
    ...optionsOf(model, config),
    logger: createLogger('check', 'silent'),
    onGiveUp: (error) => report.problems.push(error.message),
  });
}

interface ClassifyDeps {
  model: ModelFolder;
  engines: EnginePool;
  answering: ModelAnswering;
  probe: ModelProbe;
}

async function classify(report: ModelReport, texts: readonly string[], deps: ClassifyDeps): Promise<void> {
  const { model, engines, answering, probe } = deps;
  const { tokenizer, maxTokens, apply, applied } = probe;
  const budgets = { interactive: 256, low: 256, bulk: 256 };
  const classifier = new Classifier({
    tokenizer,
    ...answering,
    apply,
    applied,
    maxTokens,
    unreadable: model.amulet.unreadable_text,
    batcher: new Batcher<TextRow, Float32Array>({
      run: (rows) => engines.run(rows.map(({ encoded }) => encoded)),
      executors: 1,
      budgets,
      ...batcherOptions(probe, engines, budgets.interactive),
    }),
  });
  report.samples = [];
  for (const text of texts) {
    const options = { top_k: Math.min(3, answering.labels.length) };
    const result = await classifier.classify({ text }, options, 'interactive', new AbortController().signal);
    const { ids } = await tokenizer.encode(text);
    report.samples.push({ text, tokens: ids.length, result });
    // Not for a sample in a script that the model cannot read: the model can still serve other texts.
    if ('error' in result && result.error.code !== 'unreadable_text')
      report.problems.push(`${JSON.stringify(text)} cannot be classified: ${result.error.message}`);
  }
  report.vocabulary = coverageOf(tokenizer);
}

async function calibrate(
  report: ModelReport,
  engines: EnginePool,
  { maxTokens, batching }: ModelProbe,
  { MAX_BATCH_MS, MAX_BULK_BATCH_MS }: Config,
): Promise<void> {
  const longestMs = Math.max(MAX_BATCH_MS, MAX_BULK_BATCH_MS);
  const samples = await timeBatches(engines, { maxTokens, batching }, longestMs);
  report.calibration = samples.map(({ tokens, ms }) => {
    const best = Math.min(...ms);
    return { tokens, ms: Math.round(best * 100) / 100, us_per_token: Math.round((best * 1e4) / tokens) / 10 };
  });
  const limits = { interactiveMs: MAX_BATCH_MS, backgroundMs: MAX_BULK_BATCH_MS };
  const { interactive, background, fallback } = chooseBudgets(samples, limits);
  report.budgets = fallback === undefined ? { interactive, background } : null;
}
