/** Entry of the `amulet` command. */
import { commandName } from '../shared/runtime/environment.ts';
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { toError } from '../shared/runtime/to-error.ts';
import { backfill } from './backfill/backfill.ts';
import { parseBackfill } from './backfill/command-line.ts';
import { CliError, EXIT, Interrupted, UsageError, type ExitCode } from './terminal/exit.ts';
import { BACKFILL_HELP, HELP, KEY_HELP, LISTEN_HELP, MODEL_HELP } from './help.ts';
import { createReporter } from './terminal/reporter.ts';
import { isClosedPipe, print, printError } from './terminal/print.ts';

/** npm repeats a Ctrl-C that the terminal has already sent: one key press, two signals. */
const SAME_PRESS_MS = 500;

process.exitCode = await main(process.argv.slice(2));
// Not left to the event loop: standard input may be a pipe that stays open.
process.exit();

async function main([command, ...args]: string[]): Promise<ExitCode> {
  const interrupt = interruptSignal();
  try {
    switch (command) {
      case '--version':
        return show(version());
      case '--help':
      case '-h':
      case 'help':
        return show(HELP);
      case 'backfill': {
        const wanted = parseBackfill(args);
        if (wanted === 'help') return show(BACKFILL_HELP);
        keepYoungSpaceSmall();
        if (wanted.dryRun) {
          const { dryRun } = await import('./backfill/dry-run.ts');
          return await dryRun(wanted, interrupt, print);
        }
        return await backfill(wanted, interrupt, createReporter(process.stderr, wanted.quiet));
      }
      // Each command loads only the modules it needs: most commands finish in less time than loading all would take.
      case 'key': {
        const { createKey, parseKey } = await import('./key.ts');
        const wanted = parseKey(args);
        if (wanted === 'help') return show(KEY_HELP);
        return createKey(wanted, print, printError);
      }
      case 'listen': {
        const { parseListen, receiveWebhooks } = await import('./listen.ts');
        const wanted = parseListen(args);
        if (wanted === 'help') return show(LISTEN_HELP);
        return await receiveWebhooks(wanted, interrupt, print, printError);
      }
      case 'model':
        return await model(args, interrupt);
      default:
        throw new UsageError(
          command === undefined
            ? `missing command; see ${commandName()} --help`
            : `unknown command ${command}; see ${commandName()} --help`,
        );
    }
  } catch (error) {
    return reportError(error);
  }
}

/**
 * Keeps V8's space for young objects at the size that it begins with: it doubles while many survive, as the texts of a Parquet page do.
 * 206 MB in place of 256 at most for an archive in Parquet, for some 10 % more CPU of the reading. A flag of the command line would have to be passed on by every
 * way to start the command.
 */
function keepYoungSpaceSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

async function model(args: string[], interrupt: AbortSignal): Promise<ExitCode> {
  const { parseModel } = await import('./model/command-line.ts');
  const wanted = parseModel(args);
  if (wanted === 'help') return show(MODEL_HELP);
  if (wanted.kind === 'check') {
    const { check } = await import('./model/check.ts');
    return check(wanted, interrupt, print);
  }
  const { pull } = await import('./model/pull.ts').catch(throwMissingPackages);
  return pull(wanted, interrupt, createReporter(process.stderr, wanted.quiet));
}

/** The published package does not depend on packages that only `model pull` needs. */
function throwMissingPackages(error: unknown): never {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
  throw new CliError(EXIT.failed, 'model pull needs two more packages: npm install @huggingface/hub zod');
}

/** Aborts on the first Ctrl-C or SIGTERM, or once the reader of standard output is gone; a second Ctrl-C kills the process. */
function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  let since = 0;
  const on = (signal: NodeJS.Signals, exitCode: ExitCode) =>
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        since = Date.now();
        controller.abort(new Interrupted(exitCode));
      } else if (Date.now() - since > SAME_PRESS_MS) {
        // Die as without a handler: process.exit() would wait for work that may be stuck.
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
    });
  on('SIGINT', EXIT.interrupted);
  on('SIGTERM', EXIT.terminated);
  process.stdout.on('error', (error: Error) => {
    controller.abort(isClosedPipe(error) ? new Interrupted(EXIT.closedPipe) : error);
  });
  // The work continues even if its messages cannot be written.
  process.stderr.on('error', () => {});
  return controller.signal;
}

/** Version of the package that contains this file: the repository or the published one. */
function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function show(text: string): ExitCode {
  print(text);
  return EXIT.ok;
}

function reportError(thrown: unknown): ExitCode {
  const { message, stack } = toError(thrown);
  const [lines, exitCode] =
    thrown instanceof CliError
      ? [[message, ...thrown.hints], thrown.exitCode]
      : [(stack ?? message).split('\n'), EXIT.failed];
  const [first, ...others] = lines;
  const kind = thrown instanceof CliError ? '' : 'this is a bug: ';
  if (message !== '') [`amulet: ${kind}${first}`, ...others].forEach(printError);
  return exitCode;
}
