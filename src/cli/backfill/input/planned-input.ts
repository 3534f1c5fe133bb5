/** Opens the input of a run: one source as it is, several joined, after a check of each. A run that resumes compares them with those of the earlier run. */
import type { BatchOptions } from '../../../client/batches.ts';
import { UsageError } from '../../terminal/exit.ts';
import { bytes, entry, plural } from '../../terminal/units.ts';
import { checkSources } from './check-sources.ts';
import { completeOptions, completeReading, type BackfillCommand } from '../command-line.ts';
import type { Input, InputIdentity } from './input.ts';
import { findSource, findSources } from './inputs.ts';
import { joinedInput, type PlannedSource } from './joined-input.ts';
import type { OutputOptions } from '../output/output-options.ts';
import type { ReadingOptions } from './reading.ts';
import { openRecords } from './records.ts';
import { protocolOf } from '../remote/addresses.ts';
import type { Source } from './source.ts';
import type { BackfillState, StoredSource } from '../state.ts';

export interface OpenedInputs {
  options: BatchOptions;
  reading: ReadingOptions;
  input: Input;
  /** Undefined for one input. */
  sources: StoredSource[] | undefined;
  /** Lines for the user. */
  notes: readonly string[];
}

export interface PlannedInputs {
  options: BatchOptions;
  reading: ReadingOptions;
  sources: PlannedSource[];
  several: boolean;
  notes: readonly string[];
}

/** Finds the inputs, and how to read them by their names. @throws UsageError when one does not exist, or has another kind of record */
export async function planInputs(command: BackfillCommand, signal: AbortSignal): Promise<PlannedInputs> {
  const { list, several, notes } = await findSources(command.files, command.reading, command, {
    signal,
    retryTimeoutMs: command.retryTimeoutMs,
  });
  const [first] = list;
  if (!first || several) return { ...commonOptions(list, command), reading: command.reading, several, notes };
  const options = completeOptions(first.name, command.options);
  const reading = completeReading(first.name, command);
  return { options, reading, sources: [{ ...first, format: reading.format }], several, notes };
}

/** @throws UsageError when an input does not exist, or does not go together with the first one */
export async function openInputs(
  command: BackfillCommand,
  { keep }: OutputOptions,
  signal: AbortSignal,
): Promise<OpenedInputs> {
  const { options, reading, sources, several, notes } = await planInputs(command, signal);
  const [first] = sources;
  if (first && !several) {
    const input = await openRecords(first, reading, options, keep);
    return { options, reading, input, sources: undefined, notes };
  }
  const explicit = command.options.format !== undefined;
  await checkSources(sources, { reading, options, explicit, keep, signal });
  const input = joinedInput(sources, reading, options, keep);
  const found = entry('Files', `${plural(sources.length, 'file')}, ${bytes(input.size ?? 0)}`);
  const stored = sources.map((source) => ({
    ...versionOf(source),
    ...(source.format && { format: source.format }),
  }));
  return {
    options,
    reading,
    input,
    sources: stored,
    notes: [found, ...notes.map((note) => entry('', note))],
  };
}

/** Options that suit every source. @throws UsageError that names the first source that they do not suit */
function commonOptions(
  list: readonly Source[],
  command: BackfillCommand,
): { options: BatchOptions; sources: PlannedSource[] } {
  if (command.reading.whole_files === true)
    return { options: { ...command.options, format: 'ndjson' }, sources: [...list] };
  let common: { name: string; options: BatchOptions } | undefined;
  const sources = list.map((source) => {
    const { name } = source;
    const options = optionsOf(name, command);
    common ??= { name, options };
    const [own, others] = [kindOf(options), kindOf(common.options)];
    if (own !== others) {
      throw new UsageError(
        `${name} has ${own}, but ${common.name} has ${others}: label them in two runs, or choose files with --glob`,
      );
    }
    return { ...source, format: completeReading(name, command).format };
  });
  if (!common) throw new Error('no input');
  return { options: common.options, sources };
}

function optionsOf(name: string, { options }: BackfillCommand): BatchOptions {
  try {
    return completeOptions(name, options);
  } catch (error) {
    if (!(error instanceof UsageError) || !error.message.startsWith('unknown format')) throw error;
    throw new UsageError(
      `${error.message}, --whole-files for one text a file, or leave the file out with --glob`,
    );
  }
}

/** Formats with the same kind of record can be joined. */
function kindOf({ format, delimiter }: BatchOptions): string {
  if (format === 'ndjson') return 'JSON records';
  if (format === 'lines') return 'plain lines';
  return delimiter === undefined ? 'CSV' : `CSV with ${delimiter === 'tab' ? 'tabs' : `"${delimiter}"`}`;
}

/** @returns no input once it is no longer needed and gone; `problem` when it has changed */
export async function inputToResume(
  { files, reading: given, out, summary, retryTimeoutMs }: BackfillCommand,
  state: BackfillState,
  signal: AbortSignal,
): Promise<{ input?: Input | undefined; problem?: string | undefined }> {
  const reading = { ...state.reading, ...given };
  // Nor may a server that does not answer hold up the rest of the run.
  if (state.uploaded && files.some((file) => protocolOf(file) !== undefined)) return {};
  try {
    if (state.sources) {
      const { list } = await findSources(files, reading, { out, summary }, { signal, retryTimeoutMs });
      const missing = missingSince(state.sources, list);
      if (missing !== undefined) return state.uploaded ? {} : { problem: missing };
      const problem = changeSince(state.sources, list);
      if (problem !== undefined) return { problem };
      const sources = list.map((source, i) => ({ ...source, format: state.sources?.[i]?.format }));
      return { input: joinedInput(sources, reading, state.options, state.output?.keep) };
    }
    const [file = ''] = files;
    if (files.length > 1)
      return { problem: `the earlier run had one input, and this one has ${files.length}` };
    const source = await findSource(file, { signal, retryTimeoutMs });
    if (state.uploaded && source.version === undefined) return {};
    const input = await openRecords(source, reading, state.options, state.output?.keep);
    if (!input.identity || !state.input || sameInput(input.identity, state.input)) return { input };
    input.close();
    return { problem: `${source.name} has changed ${SINCE}` };
  } catch (error) {
    // After a complete upload the input is not read again and may be gone.
    if (state.uploaded && error instanceof UsageError) return {};
    throw error;
  }
}

function sameInput(a: InputIdentity, b: InputIdentity): boolean {
  return a.size === b.size && a.mtimeMs === b.mtimeMs && a.head === b.head && a.etag === b.etag;
}

const SINCE = 'since the earlier run';

function missingSince(earlier: readonly StoredSource[], now: readonly Source[]): string | undefined {
  const names = new Set(now.map(({ name }) => name));
  const missing = earlier.find(({ name }) => !names.has(name));
  return missing && `${missing.name} has been removed ${SINCE}`;
}

/** The first source that is new or has changed. */
function changeSince(earlier: readonly StoredSource[], now: readonly Source[]): string | undefined {
  const before = new Map(earlier.map((source) => [source.name, source]));
  for (const source of now) {
    const known = before.get(source.name);
    if (!known) return `${source.name} has been added ${SINCE}`;
    const { size, version } = versionOf(source);
    if (known.size !== size || known.version !== version) return `${source.name} has changed ${SINCE}`;
  }
  return now.some(({ name }, i) => name !== earlier[i]?.name)
    ? 'the inputs are in another order than in the earlier run'
    : undefined;
}

function versionOf({ name, size = 0, version = '' }: Source): StoredSource {
  return { name, size, version };
}
