/** `amulet model pull`: downloads a repository of a hub into a folder that a worker can serve. */
import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { ApiError, ConnectionError } from '../../client/errors.ts';
import { GaveUpError, Retrier, type Retrying } from '../../client/retry.ts';
import { commandName } from '../../shared/runtime/environment.ts';
import { NotOnnx, readOnnxGraph } from '../../shared/onnx/graph.ts';
import { hubAccess } from '../credentials.ts';
import { CliError, EXIT, Interrupted, UsageError, type ExitCode } from '../terminal/exit.ts';
import { checkRoom, diskProblem, exists } from '../terminal/disk.ts';
import { takeLock } from '../terminal/lock.ts';
import { RateMeter } from '../terminal/rate-meter.ts';
import type { Reporter } from '../terminal/reporter.ts';
import { bytes, duration, elapsedSince, entry, plural, shellWord } from '../terminal/units.ts';
import type { PullCommand } from './command-line.ts';
import { download, verify } from './download.ts';
import { chooseExternalFiles, chooseFiles, refuseCollisions, type HubFile } from './hub-files.ts';
import { Hub, type Repository } from './hub.ts';
import { makeParent, Staging } from './staging.ts';

/**
 * @param signal ends the download at once, with an Interrupted as its reason; the downloaded data is kept
 * @throws CliError
 */
export async function pull(command: PullCommand, signal: AbortSignal, reporter: Reporter): Promise<ExitCode> {
  const staging = new Staging(command.out);
  try {
    const access = hubAccess();
    for (const note of access.notes) reporter.log(note);
    await makeParent(staging.target);
    const unlock = takeLock(`${staging.target}.lock`, 'amulet model pull');
    try {
      await staging.recover();
      return await pullInto(command, new Hub(access, signal), staging, signal, reporter);
    } finally {
      reporter.unwatch();
      unlock();
    }
  } catch (error) {
    throw toCliError(error, command, staging);
  }
}

async function pullInto(
  command: PullCommand,
  hub: Hub,
  staging: Staging,
  signal: AbortSignal,
  reporter: Reporter,
): Promise<ExitCode> {
  let retrying: Retrying | undefined;
  const { retryTimeoutMs } = command;
  const retrier = new Retrier({ retryTimeoutMs, signal, onRetry: (now) => (retrying = now) });
  const repository = await retrier.run(() => hub.read(command.id, command.revision));
  const { model, files } = chooseFiles(command.id, repository.files, command.file);

  const present = staging.present();
  let damage = '';
  if (present?.source?.commit === repository.commit && present.files[model.path]) {
    const listed = repository.files.filter(({ path }) => present.files[path]);
    const damaged = await firstDamaged(listed, staging.target, signal);
    if (damaged === undefined) {
      reporter.log(entry('Present', `${command.out} already holds ${describe(repository)}`));
      return EXIT.ok;
    }
    damage = `, but ${damaged.path} is damaged or missing`;
  }
  if (!command.force && (present !== undefined || (await exists(staging.target)))) {
    throw new UsageError(`${command.out} already exists${damage}; --force replaces it`);
  }

  staging.begin(repository);
  let total = files.reduce((sum, file) => sum + file.bytes, 0);
  reporter.log(entry('From', `${describe(repository)}: ${plural(files.length, 'file')}, ${bytes(total)}`));
  await checkRoom(staging.folder, total - sizesOnDisk(staging.folder, files));
  const meter = new RateMeter();
  const onDisk = new Map<string, number>();
  const done = () => [...onDisk.values()].reduce((sum, each) => sum + each, 0);
  reporter.watch(() => {
    const perSecond = meter.perSecond;
    return {
      label: 'Downloading',
      unit: 'bytes',
      done: done(),
      total,
      rate: perSecond,
      etaS: perSecond ? (total - done()) / perSecond : undefined,
      delay: retrying && `${retrying.reason} for ${elapsedSince(retrying.since)}; retrying`,
    };
  });
  let atStart: number | undefined;
  const hashes = new Map<string, string>();
  // Weights may have any name: the graph is fetched first, and names them.
  const queue = [model, ...files.filter((file) => file !== model)];
  for (const file of queue) {
    const onBytes = (have: number) => {
      onDisk.set(file.path, have);
      // Bytes of an earlier run do not count towards the speed of this one.
      atStart ??= have;
      meter.add(done() - atStart);
    };
    hashes.set(
      file.path,
      await download(file, staging.folder, { hub, repository, retrier, signal, onBytes }),
    );
    if (file !== model) continue;
    const locations = externalData(path.join(staging.folder, model.path));
    const outside = chooseExternalFiles(command.id, repository.files, model, locations);
    const more = outside.filter((other) => !queue.includes(other));
    queue.push(...more);
    refuseCollisions(command.id, queue);
    total += more.reduce((sum, { bytes: size }) => sum + size, 0);
    await checkRoom(staging.folder, total - sizesOnDisk(staging.folder, queue));
  }
  reporter.unwatch();
  const { revision } = await staging.finish(repository, hashes);
  for (const line of report(command, model, revision, total)) reporter.log(line);
  return EXIT.ok;
}

/** Bytes of the files that an earlier run downloaded. */
function sizesOnDisk(folder: string, files: readonly HubFile[]): number {
  const size = ({ path: name, bytes: listed }: HubFile) =>
    Math.min(listed, statSync(path.join(folder, name), { throwIfNoEntry: false })?.size ?? 0);
  return files.reduce((sum, file) => sum + size(file), 0);
}

/** Names of a graph's files of weights; none for a file that is not ONNX, on which `model check` reports. */
function externalData(file: string): string[] {
  try {
    return readOnnxGraph(file).externalData;
  } catch (error) {
    if (error instanceof NotOnnx) return [];
    throw error;
  }
}

/** The first file that is missing from the folder or differs from the hub's list. */
async function firstDamaged(
  files: readonly HubFile[],
  folder: string,
  signal: AbortSignal,
): Promise<HubFile | undefined> {
  for (const file of files) {
    const target = path.join(folder, file.path);
    if (!existsSync(target) || !(await verify(file, target, signal)).same) return file;
  }
  return undefined;
}

function report({ out, file }: PullCommand, model: HubFile, revision: string, total: number): string[] {
  const named = file === undefined ? '' : `MODEL_FILE=${shellWord(model.path)} `;
  return [
    entry('Saved to', `${out}: ${bytes(total)}, revision ${revision}`),
    entry(
      'Check',
      `${commandName()} model check ${shellWord(out)}${file === undefined ? '' : ` --file ${shellWord(file)}`}`,
    ),
    entry('Serve', `MODEL_DIR=${shellWord(out)} ${named}npm start`),
  ];
}

const describe = ({ id, commit }: Repository): string => `${id} at ${commit.slice(0, 12)}`;

/** @returns a CliError, or the error itself for a bug */
function toCliError(
  error: unknown,
  { out, id, args, retryTimeoutMs }: PullCommand,
  { folder }: Staging,
): unknown {
  if (error instanceof CliError) return error;
  const kept = existsSync(folder) ? 'The downloaded data is kept. Resume with:' : 'Try again with:';
  const hints = [kept, `  ${commandName()} ${['model', 'pull', ...args].map(shellWord).join(' ')}`];
  if (error instanceof Interrupted) {
    return error.exitCode === EXIT.closedPipe
      ? new CliError(error.exitCode, '')
      : new CliError(error.exitCode, 'interrupted', hints);
  }
  if (error instanceof GaveUpError) {
    const reason = `gave up after ${duration(retryTimeoutMs / 1000)} without success: ${error.message}`;
    return new CliError(EXIT.temporary, `${id}: ${reason}`, hints, error);
  }
  if (error instanceof ApiError || error instanceof ConnectionError)
    return new CliError(EXIT.failed, `${id}: ${error.message}`, [], error);
  const problem = diskProblem(error);
  return problem ? new CliError(problem.exitCode, `${out}: ${problem.reason}`, hints, error) : error;
}
