/** Uploads the input: makes the batch or resumes its upload, sends the parts, completes the batch. */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { BatchOptions } from '../../../client/batches.ts';
import { ApiError } from '../../../client/errors.ts';
import type { Batch } from '../../../shared/contract/batches.ts';
import { cancelBatch, batchUrl } from '../cancel-batch.ts';
import { BufferPool } from './buffer-pool.ts';
import { checkKept } from '../output/check-kept.ts';
import { SNIFF_BYTES } from '../../../shared/bulk/sniff.ts';
import { checkBeginning, type Beginning } from '../input/beginning.ts';
import { BatchEndedError } from '../../terminal/exit.ts';
import { notCanceled } from '../errors.ts';
import { takeCsvHeader } from '../input/header.ts';
import type { Input } from '../input/input.ts';
import { cutParts, type LineRange, type Part } from './parts.ts';
import { firstRows } from '../input/first-rows.ts';
import { placeOf } from '../input/places.ts';
import { peek, prepend } from '../../../shared/bulk/byte-stream.ts';
import type { ReplacedBatch, Plan } from '../plan.ts';
import { onlyLines, type ErrorLines } from '../retry-errors.ts';
import { retryText, type Run } from '../run.ts';
import { specOf } from '../input/records.ts';
import { selectRows } from '../input/selection.ts';
import { suspicions } from '../input/suspicions.ts';
import { proofOf } from '../server.ts';
import type { BackfillState } from '../state.ts';
import { bytes, duration, entry, plural } from '../../terminal/units.ts';
import { UploadMeter } from './upload-meter.ts';
import { OtherInputError, uploadParts } from './upload.ts';

/** Maximum size of a part, decompressed. */
const PART_BYTES = 8 * 1024 * 1024;
/** A CSV is checked by its header. */
const NO_BYTES = { bytes: Buffer.alloc(0), whole: false };
/** One is filled while the others are being sent. */
const PART_BUFFERS = 3;

/**
 * Makes a batch and uploads the input to it.
 * @returns undefined for an input without records
 */
export async function startBatch(
  run: Run,
  plan: Plan & { kind: 'start' },
): Promise<{ state: BackfillState; batch: Batch } | undefined> {
  const { destination, signal, retrier, client } = run;
  const { input, earlier, replacedBatch, url } = plan;
  run.describeProgress = () => 'before anything was uploaded';
  // Read before anything is changed, to find a wrong column or a damaged file.
  let beginning: Beginning | undefined;
  const source = await openSource(input, plan, signal, run.onlyRows, (head, whole) => {
    beginning = { head, whole };
    // The files of a folder and the columns of Parquet have been checked already.
    if (!plan.sources && plan.reading.format !== 'parquet') {
      checkBeginning(input, beginning, plan.options, run.command.options.format !== undefined);
      if (plan.options.format !== 'csv')
        checkKept(input.name, plan.output.keep, plan.options, { bytes: head, whole });
    }
  });
  if (beginning)
    for (const finding of suspicions(firstRows(beginning, plan.options), beginning, plan.options))
      run.reporter.log(entry('Warning', finding));
  // With the header of a CSV, which an output without rows has, too.
  plan.options = source.options;
  if (plan.options.format === 'csv') checkKept(input.name, plan.output.keep, source.options, NO_BYTES);
  const first = await source.parts.next();
  if (replacedBatch) await cancelReplaced(run, replacedBatch);
  await destination.discard();
  if (first.done === true) {
    run.reporter.log(entry('Input', `${input.name} has no records: nothing to label`));
    return undefined;
  }

  const request = {
    url: url.href,
    options: source.options,
    reading: plan.reading,
    input: input.identity ?? null,
    ...(plan.sources && { sources: plan.sources }),
  };
  const sameRequest = earlier !== undefined && isDeepStrictEqual(request, requestOf(earlier));
  const state: BackfillState = {
    v: 1,
    ...request,
    output: plan.output,
    ...(plan.output.keep && input.types && { types: await input.types() }),
    ...(run.command.force && { force: true }),
    url_proof: proofOf(url.href),
    idempotencyKey: sameRequest ? earlier.idempotencyKey : randomUUID(),
    batch: null,
    uploaded: false,
    finished: null,
  };
  await destination.save(state);
  const meter = watchUpload(run, input);
  const { id } = await retrier.run(() => client.create(state.options, state.idempotencyKey, signal));
  state.batch = id;
  run.state = state;
  await destination.save(state);
  run.reporter.log(entry('Batch', id));
  const batch = await upload(run, state, id, { ...source, parts: prepend(first.value, source.parts) }, meter);
  return batch && { state, batch };
}

/** Properties of a run that the same batch serves. */
function requestOf({ url, options, reading = {}, input, sources }: BackfillState) {
  return { url, options, reading, input, ...(sources && { sources }) };
}

/** Retries where the new batch needs the same server; another server may be gone for good. */
async function cancelReplaced(
  { url: newUrl, retrier, client, signal, reporter }: Run,
  { url, batch, isKnown }: ReplacedBatch,
): Promise<void> {
  if (url.href !== newUrl.href) {
    if (!isKnown || !(await cancelBatch(url, batch))) reporter.log(notCanceled(batchUrl(url, batch)));
    return;
  }
  await retrier
    .run(() => client.delete(batch, signal))
    .catch((error: unknown) => {
      if (!(error instanceof ApiError && error.code === 'batch_not_found')) throw error;
    });
}

/** Uploads the missing parts of the input to an open batch; undefined for an input without records. */
export async function resumeUpload(
  run: Run,
  state: BackfillState,
  id: string,
  input: Input,
): Promise<Batch | undefined> {
  const source = await openSource(input, state, run.signal, run.onlyRows);
  if (!isDeepStrictEqual(source.options, state.options)) throw new OtherInputError('its header differs');
  return upload(run, state, id, source, watchUpload(run, input));
}

interface Source {
  input: Input;
  /** Options of the batch, completed by the header of the input. */
  options: BatchOptions;
  parts: AsyncGenerator<Part, void, undefined>;
  pool: BufferPool;
  /** Ends the reading. */
  stop: AbortController;
}

/** @param look called with the first bytes and whether they are the whole input; throws to refuse the input */
async function openSource(
  input: Input,
  { options: given, reading = {} }: Pick<BackfillState, 'options' | 'reading'>,
  signal: AbortSignal,
  onlyRows: ErrorLines | undefined,
  look?: (head: Buffer, whole: boolean) => void,
): Promise<Source> {
  const stop = new AbortController();
  let stream = input.read(AbortSignal.any([signal, stop.signal]));
  if (look) {
    const beginning = await peek(stream, SNIFF_BYTES);
    const { head } = beginning;
    look(Buffer.from(head.subarray(0, SNIFF_BYTES)), head.length < SNIFF_BYTES);
    ({ stream } = beginning);
  }
  const { columns: _, first_line: __, ...options } = given;
  const spec = specOf(options);
  const pool = new BufferPool(PART_BUFFERS, PART_BYTES);
  const select = (records: AsyncIterable<Uint8Array>, first: number) => {
    const rows = selectRows(records, spec, reading);
    return onlyRows ? onlyLines(rows, spec, first, onlyRows) : rows;
  };
  if (options.format !== 'csv')
    return { input, options, parts: cutParts(select(stream, 1), spec, 1, pool), pool, stop };
  const header = await takeCsvHeader(stream, spec);
  const { columns, firstLine } = header;
  return {
    input,
    options: { ...options, columns, first_line: firstLine },
    parts: cutParts(select(header.rest, firstLine), spec, firstLine, pool),
    pool,
    stop,
  };
}

function watchUpload(run: Run, input: Input): UploadMeter {
  const meter = new UploadMeter(input);
  const total = input.size;
  const percent = () => (total ? `${Math.floor((meter.done / total) * 100)}%` : bytes(meter.done));
  run.describeProgress = () => `while uploading, at ${percent()}`;
  run.reporter.watch(() => {
    const { done, rate } = meter;
    const etaS = total !== undefined && rate ? (total - done) / rate : undefined;
    return {
      label: 'Uploading',
      unit: 'bytes',
      done,
      total,
      rate,
      etaS,
      delay: retryText(run) ?? input.delay?.(),
    };
  });
  return meter;
}

async function upload(
  run: Run,
  state: BackfillState,
  id: string,
  source: Source,
  meter: UploadMeter,
): Promise<Batch | undefined> {
  const { client, retrier, signal, url, reporter, destination } = run;
  const startedAt = performance.now();
  const { input, pool, stop } = source;
  const present = await retrier.run(() => client.listParts(id, signal));
  const { parts, rows, multiline, unclosed } = await uploadParts(
    meter.watch(source.parts),
    {
      pool,
      stop,
      present,
      client,
      retrier,
      batch: id,
      gzip: !isLoopback(url),
      signal: AbortSignal.any([signal, stop.signal]),
    },
    (part, fraction) => meter.sent(part, fraction),
  ).catch(async (error: unknown) => {
    const ended = error instanceof ApiError && error.code === 'batch_not_open';
    throw ended ? new BatchEndedError(await retrier.run(() => client.get(id, signal))) : error;
  });
  if (rows === 0) {
    // An input of empty lines makes no batch.
    await cancelBatch(url, id);
    await destination.discard();
    return undefined;
  }
  const batch = await retrier.run(() => client.complete(id, parts, signal));
  state.uploaded = true;
  if (input.places) state.places = [...input.places];
  await destination.save(state);
  reporter.unwatch();
  const took = duration((performance.now() - startedAt) / 1000);
  reporter.log(entry('Uploaded', `${plural(rows, 'row')}, ${bytes(meter.done)} in ${took}`));
  if (multiline) {
    const { from, to } = multiline.first;
    const first = `${multiline.rows === 1 ? '' : 'the first '}from ${placeOf(from, input.places)} to ${placeOf(to, input.places)}`;
    reporter.log(
      entry(
        'Quoted',
        `${plural(multiline.rows, 'row')} over several lines, ${first} (--quote line ends a field with its line)`,
      ),
    );
  }
  for (const field of input.unclosed ?? (unclosed ? [unclosed] : []))
    reporter.log(entry('Unclosed', unclosedText(field)));
  return batch;
}

function unclosedText({ name, from, to }: LineRange & { name?: string }): string {
  const where = name === undefined ? '' : `${name}: `;
  return `${where}the quoted field that begins on line ${from} is never closed; one error row stands for lines ${from} to ${to}`;
}

/** On loopback, compression costs more than it saves. */
function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname);
}
