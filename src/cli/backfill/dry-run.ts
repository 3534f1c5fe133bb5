/** `amulet backfill --dry-run`: shows what would be read, by which model, and for how long; uploads nothing. */
import { AmuletError } from '../../client/errors.ts';
import { listed, shorten } from '../../shared/contract/text.ts';
import { clientKey } from '../credentials.ts';
import { EXIT, type ExitCode } from '../terminal/exit.ts';
import { bytes, count, entry, plural } from '../terminal/units.ts';
import { DEFAULT_URL, type BackfillCommand } from './command-line.ts';
import { toEarlyError } from './errors.ts';
import { forecast, type Forecast } from './forecast.ts';
import { planInputs } from './input/planned-input.ts';
import { connectTo } from './server.ts';
import { survey, type Survey } from './input/survey.ts';

/** Files, and rows, that are shown. */
const SHOWN_FILES = 10;
const SHOWN_ROWS = 5;
/** Of an output that is no terminal. */
const COLUMNS = 120;

/** @throws CliError */
async function look(command: BackfillCommand, check: Parameters<typeof survey>[1]) {
  try {
    const inputs = await planInputs(command, check.signal);
    return { inputs, found: await survey(inputs, check) };
  } catch (error) {
    throw toEarlyError(error);
  }
}

/**
 * @param show prints lines, with control characters escaped
 * @throws UsageError as a run would
 */
export async function dryRun(
  command: BackfillCommand,
  signal: AbortSignal,
  show: (text: string) => void,
): Promise<ExitCode> {
  const explicit = command.options.format !== undefined;
  const { inputs, found } = await look(command, { explicit, keep: command.output.keep, signal });
  const textField = inputs.options.text_field ?? 'text';
  const idField = inputs.options.id_field ?? 'id';
  const width = process.stdout.isTTY ? process.stdout.columns : COLUMNS;
  const url = command.url ?? DEFAULT_URL;
  const { server, time } = await ask(url, command, found, signal);
  const lines = [
    ...fileLines(found),
    ...inputs.notes.map((note) => entry('', note)),
    ...(found.fields.length > 0 ? [entry('Fields', fieldText(found.fields, textField, idField))] : []),
    entry('Rows', rowsText(found)),
    ...found.first.slice(0, SHOWN_ROWS).map((row) => rowLine(row, width)),
    ...found.warnings.map((warning) => entry('Warning', warning)),
    entry('Server', server),
    entry('Time', time),
    entry('', 'Nothing was uploaded: leave out --dry-run to label the rows.'),
  ];
  show(lines.join('\n'));
  return EXIT.ok;
}

async function ask(
  url: URL,
  { options }: BackfillCommand,
  found: Survey,
  signal: AbortSignal,
): Promise<Forecast> {
  const address = url.href.replace(/\/$/, '');
  clientKey();
  const http = connectTo(url);
  try {
    const { server, time } = await forecast(http, options.model, found, signal);
    return { server: `${address}: ${server}`, time };
  } catch (error) {
    signal.throwIfAborted();
    const reason = error instanceof AmuletError ? error.message : 'no answer';
    return { server: `${address}: ${reason}`, time: 'unknown: the server does not answer' };
  } finally {
    http.close();
  }
}

function fileLines({ files }: Survey): string[] {
  const size = files.reduce((sum, file) => sum + (file.size ?? 0), 0);
  const shown = files.slice(0, SHOWN_FILES).map(({ name, size: stored, kind }) => {
    const stores = stored === undefined ? '' : `, ${bytes(stored)}`;
    return `${name}: ${kind}${stores}`;
  });
  if (files.length === 1) return [entry('File', shown[0] ?? '')];
  const more = files.length - shown.length;
  return [
    entry('Files', `${plural(files.length, 'file')}, ${bytes(size)}`),
    ...shown.map((file) => entry('', file)),
    ...(more > 0 ? [entry('', `… and ${count(more)} more`)] : []),
  ];
}

function fieldText(fields: readonly string[], textField: string, idField: string): string {
  const roles = new Map([
    [idField, 'the id'],
    [textField, 'the text'],
  ]);
  const named = fields.flatMap((field) =>
    roles.has(field) ? [`${shorten(field, 30)} (${roles.get(field)})`] : [],
  );
  // A table of 5,000 columns names these two as well.
  return listed([...named, ...fields.filter((field) => !roles.has(field))]);
}

function rowsText({ rows, isExact, files }: Survey): string {
  if (rows === undefined) return 'unknown: the size of the input is';
  if (isExact) return plural(rows, 'row');
  // Two digits are as much as an estimate is worth.
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, rows))) - 1);
  return `about ${count(Math.round(rows / digits) * digits)}, by the first rows and the size of ${files.length === 1 ? 'the file' : 'the files'}`;
}

function rowLine(row: Survey['first'][number], width: number): string {
  const id = row.id === undefined ? '' : `${row.id}  `;
  const content = 'text' in row ? JSON.stringify(row.text) : `error: ${row.error.message}`;
  return shorten(entry('', `line ${row.line}  ${id}${content}`), Math.max(40, width) - 1);
}
