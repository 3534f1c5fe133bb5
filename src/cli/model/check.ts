/** `amulet model check`: reports how a worker would serve a model folder. A child process runs the worker's own code. */
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { RowResult } from '../../shared/contract/results.ts';
import type { ModelReport } from '../../shared/contract/model-report.ts';
import { NODE_FLAGS } from '../../shared/runtime/node-flags.ts';
import { printable } from '../../shared/runtime/printable.ts';
import { CliError, EXIT, Interrupted, type ExitCode } from '../terminal/exit.ts';
import { bytes, count, entry, percent, plural } from '../terminal/units.ts';
import type { CheckCommand } from './command-line.ts';
import { languageList } from '../../shared/contract/languages.ts';
import { vocabulary } from './vocabulary.ts';

const ENTRY = new URL('../../worker/model-check/main.ts', import.meta.url);
/** Labels to list. */
const MAX_LISTED = 12;

/**
 * @param print to standard output
 * @returns 1 when the folder has problems
 * @throws CliError with the problems, unless they are printed as JSON
 */
export async function check(
  command: CheckCommand,
  signal: AbortSignal,
  print: (line: string) => void,
): Promise<ExitCode> {
  if (!existsSync(ENTRY)) {
    const reason = 'model check needs the worker, which this package does not contain';
    throw new CliError(EXIT.failed, `${reason}: run it in a checkout or the image of Amulet`);
  }
  const report = await examine(command, signal);
  if (command.json) {
    print(JSON.stringify(report, undefined, 2));
    return report.problems.length === 0 ? EXIT.ok : EXIT.failed;
  }
  for (const line of describe(report)) print(printable(line));
  const [problem, ...others] = report.problems;
  if (problem === undefined) return EXIT.ok;
  throw new CliError(
    EXIT.failed,
    problem,
    others.map((other) => `amulet: ${other}`),
  );
}

function examine({ folder, file = '', texts }: CheckCommand, signal: AbortSignal): Promise<ModelReport> {
  return new Promise((resolve, reject) => {
    const child = fork(ENTRY, [folder, file, ...texts], {
      execArgv: [...NODE_FLAGS],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (output = (output + chunk.toString()).slice(-4000)));
    }
    const stop = () => {
      child.kill();
      const { reason } = signal as { reason: unknown };
      reject(
        reason instanceof Interrupted ? new CliError(reason.exitCode, 'interrupted') : (reason as Error),
      );
    };
    signal.addEventListener('abort', stop, { once: true });
    child.on('message', (report) => resolve(report as ModelReport));
    child.on('exit', (code, by) => {
      signal.removeEventListener('abort', stop);
      reject(
        new CliError(EXIT.failed, `the check ended with ${by ?? `status ${code}`}`, withoutStack(output)),
      );
    });
  });
}

/** The last output of a process, without stack traces. */
function withoutStack(output: string): string[] {
  return output
    .trim()
    .split('\n')
    .filter((line) => !/^\s+at |^node:internal|^Node\.js v/.test(line));
}

/** The report as lines for people. */
function describe(report: ModelReport): string[] {
  const {
    folder,
    files,
    revision,
    family,
    tokenizer,
    max_tokens: maxTokens,
    graph,
    labels,
    samples,
  } = report;
  const lines: string[] = [];
  const add = (label: string, text: string | undefined) => {
    if (text !== undefined) lines.push(entry(label, text));
  };
  add('Folder', revision === undefined ? folder : `${folder}, revision ${revision}`);
  add(
    files?.length === 1 ? 'File' : 'Files',
    files?.map(({ name, bytes: size }) => `${name}, ${bytes(size)}`).join('; '),
  );
  if (family !== undefined)
    add(
      'Family',
      [family ?? 'not declared', tokenizer && `${tokenizer} tokenizer`].filter(Boolean).join(', '),
    );
  add('Labels', labels && `${listed(labels)} (${scores(report)})`);
  add(
    'Limit',
    maxTokens === undefined ? undefined : `${plural(maxTokens, 'token')} per text${tried(report)}`,
  );
  add('Inputs', graph?.inputs.map(({ name, type }) => `${name} ${type}`).join(', '));
  add('Output', graph && `${graph.output.name} ${graph.output.type}, ${graph.output.width} per text`);
  add('Batches', batches(report));
  for (const warning of report.warnings ?? []) add('Warning', warning);
  add(
    'Loaded',
    report.load_ms === undefined ? undefined : `and warm in ${(report.load_ms / 1000).toFixed(1)} s`,
  );
  for (const [i, { text, tokens, result }] of (samples ?? []).entries()) {
    add(i === 0 ? 'Sample' : '', `${JSON.stringify(text)} (${plural(tokens, 'token')}): ${outcome(result)}`);
  }
  if (report.languages)
    add('Languages', `${languageList(report.languages, MAX_LISTED)} (languages in amulet.json)`);
  if (report.task) add('Task', `${report.task} (task in amulet.json)`);
  if (report.temperature !== undefined)
    add('Temperature', `logits are divided by ${report.temperature} (temperature in amulet.json)`);
  add('Thresholds', report.thresholds && `${thresholds(report.thresholds)} (thresholds in amulet.json)`);
  if (report.vocabulary) lines.push(...vocabulary(report.vocabulary));
  if (report.unreadable_text === 'classify')
    add('Unreadable', 'texts get labels anyway (unreadable_text in amulet.json)');
  if (report.calibration) lines.push(...calibration(report.calibration, report.budgets ?? undefined));
  return lines;
}

function listed(labels: string[]): string {
  const shown = labels.slice(0, MAX_LISTED).join(', ');
  return `${labels.length}: ${shown}${labels.length > MAX_LISTED ? ', …' : ''}`;
}

function thresholds(byLabel: Record<string, number>): string {
  const entries = Object.entries(byLabel);
  const shown = entries.slice(0, MAX_LISTED).map(([label, least]) => `${label} ${least}`);
  return shown.join(', ') + (entries.length > MAX_LISTED ? ', …' : '');
}

function tried({ max_tokens: most = 0, tried_tokens: reached = most }: ModelReport): string {
  return reached < most ? `, tried up to ${count(reached)}` : '';
}

/** How texts share batches, and the effect on their scores. */
function batches({ batching, batch_dependence: dependence = 0 }: ModelReport): string | undefined {
  if (batching === undefined) return undefined;
  const which = {
    mixed: 'of any texts',
    equal_lengths: 'of texts with the same number of tokens, as scores depend on padding',
    row_by_row: 'of one text, as scores depend on the other texts',
  }[batching];
  if (dependence === 0) return `${which}; a text scores the same alone and in a batch`;
  return `${which}; scores differ by up to ${dependence} from those of the text alone (BATCH_INVARIANCE=strict: not at all)`;
}

function scores({ apply, applied, problem_type: type }: ModelReport): string {
  if (applied) return `${applied} is applied by the graph itself; problem_type ${type ?? 'not declared'}`;
  const how = apply === 'none' ? 'raw outputs' : String(apply);
  return `${how}; problem_type ${type ?? 'not declared'}`;
}

function outcome(result: RowResult): string {
  if ('error' in result) return `${result.error.code}: ${result.error.message}`;
  const all = result.labels ?? [{ label: result.label, score: result.score }];
  const unknown = result.unknown === undefined ? '' : `; ${percent(result.unknown)} of it unknown`;
  return all.map(({ label, score }) => `${label} ${score.toFixed(3)}`).join(', ') + unknown;
}

function calibration(
  rows: NonNullable<ModelReport['calibration']>,
  budgets: ModelReport['budgets'],
): string[] {
  const mark = (tokens: number) =>
    [tokens === budgets?.interactive && 'interactive', tokens === budgets?.background && 'background']
      .filter(Boolean)
      .join(', ');
  return [
    entry(
      'Speed',
      `of one process: tokens per batch, ms, µs per token${budgets ? ', and the sizes that a worker would choose' : ''}`,
    ),
    ...rows.map(({ tokens, ms, us_per_token: micros }) =>
      `${''.padEnd(12)}${count(tokens).padStart(6)}${ms.toFixed(1).padStart(9)}${micros.toFixed(1).padStart(8)}  ${mark(tokens)}`.trimEnd(),
    ),
  ];
}
