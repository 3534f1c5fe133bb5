/** `amulet backfill`: the input goes up in parts, the rows come down as they are done, and in the end a file is there. */
import { BatchClient, hasDamagedResults, resuming } from '../../client/batches.ts';
import { Retrier } from '../../client/retry.ts';
import type { Batch } from '../../shared/contract/batches.ts';
import { abandon, batchUrl } from './cancel-batch.ts';
import { beginBatch, goOnUploading } from './upload-input.ts';
import { bringRows, finished, nothingLabelled } from './download-rows.ts';
import type { BackfillCommand } from './command-line.ts';
import { clientKey } from '../credentials.ts';
import { openDestination, type Destination } from './destination.ts';
import { diskProblem } from '../terminal/disk.ts';
import { BadInputError, CliError, EXIT, type ExitCode } from '../terminal/exit.ts';
import { explain } from './errors.ts';
import { makePlan, type Plan } from './plan.ts';
import type { Reporter } from '../terminal/reporter.ts';
import type { Run } from './run.ts';
import { connectTo, proofOf } from './server.ts';
import type { BackfillState } from './state.ts';
import { entry, plural } from '../terminal/units.ts';

/**
 * @param signal ends it at once, with an Interrupted as its reason
 * @throws CliError
 */
export async function backfill(
  command: BackfillCommand,
  signal: AbortSignal,
  reporter: Reporter,
): Promise<ExitCode> {
  const destination = await openDestination(command.out);
  try {
    return await withDestination(command, destination, signal, reporter);
  } catch (error) {
    const problem = diskProblem(error);
    if (!problem) throw error;
    throw new CliError(problem.exitCode, `${destination.name}: ${problem.reason}`, [], error);
  } finally {
    destination.release();
  }
}

async function withDestination(
  command: BackfillCommand,
  destination: Destination,
  signal: AbortSignal,
  reporter: Reporter,
): Promise<ExitCode> {
  const plan = await makePlan(command, destination);
  const { url } = plan;
  if (plan.kind === 'finish') {
    const { rows, failed } = plan.finished;
    await destination.finish(plan.state, plan.finished);
    reporter.say(entry('Written to', `${destination.name}: ${plural(rows, 'row')}`));
    const code = await finished({ command, url, reporter }, plan.state, failed);
    if (failed > 0 && failed === rows) reporter.warn(nothingLabelled(rows));
    return code;
  }
  for (const note of clientKey().notes) reporter.say(note);
  const http = connectTo(url);
  const run: Run = {
    command,
    url,
    client: new BatchClient(http),
    retrier: new Retrier({
      patienceMs: command.patienceMs,
      signal,
      onTrouble: (trouble) => (run.trouble = trouble),
    }),
    destination,
    reporter,
    signal,
    trouble: undefined,
    state: undefined,
    leftBehind: undefined,
    whereabouts: () => '',
  };
  try {
    return await carryOut(run, plan);
  } catch (error) {
    reporter.unwatch();
    await cleanUp(run, error);
    throw explain(error, run);
  } finally {
    http.close();
    plan.input?.close();
  }
}

async function carryOut(run: Run, plan: Exclude<Plan, { kind: 'finish' }>): Promise<ExitCode> {
  const begun = plan.kind === 'begin' ? await beginBatch(run, plan) : await goOn(run, plan);
  if (begun) return bringRows(run, begun.state, begun.batch);
  await finishEmpty(run);
  return EXIT.ok;
}

async function goOn(run: Run, { state, batch: id, input }: Plan & { kind: 'go on' }): Promise<Begun> {
  const { client, retrier, signal, reporter, destination, url } = run;
  run.state = state;
  run.whereabouts = () => 'before anything was done';
  let batch: Batch | undefined = await retrier.run(() => client.get(id, signal));
  const proof = proofOf(url.href);
  if (state.url !== url.href || state.url_proof !== proof) {
    // The server has moved or knows another key, and has the batch.
    Object.assign(state, { url: url.href, url_proof: proof });
    await destination.save(state);
  }
  if (batch.status === 'failed') {
    reporter.say(`The batch had failed: ${batch.error?.message ?? 'unknown reason'}. Resuming it.`);
    batch = await retrier.run(resuming(client, id, signal));
  } else if (hasDamagedResults(batch) && batch.status !== 'canceled') {
    reporter.say('Some rows of the batch are damaged on the server. Labelling them again.');
    batch = await retrier.run(resuming(client, id, signal));
  }
  if (batch.status !== 'open') state.uploaded = true;
  else if (input) batch = await goOnUploading(run, state, id, input);
  else
    throw new CliError(EXIT.failed, 'the server has forgotten that the upload was complete: this is a bug');
  return batch && { state, batch };
}

/** Undefined when there is nothing in the input. */
type Begun = { state: BackfillState; batch: Batch } | undefined;

/** Nothing in, nothing out, and no batch for it. */
async function finishEmpty({ destination, reporter }: Run): Promise<void> {
  const output = await destination.openOutput();
  await destination.finish(undefined, { rows: 0, failed: 0 }, output);
  reporter.say(entry('Written to', `${destination.name}: 0 rows`));
}

/** Leaves nothing that nobody can go on with. */
async function cleanUp(run: Run, error: unknown): Promise<void> {
  const { state, url, destination } = run;
  const useless = error instanceof BadInputError;
  if (!useless && destination.resumable) return;
  if (state?.batch != null && !(await abandon(url, state.batch))) run.leftBehind = batchUrl(url, state.batch);
  if (useless) await destination.discard();
}
