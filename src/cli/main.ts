/** Entry of the `amulet` command. */
import { commandName } from '../shared/environment.ts';
import { readFileSync } from 'node:fs';
import { toError } from '../shared/errors.ts';
import { backfill } from './backfill.ts';
import { parseBackfill } from './command-line.ts';
import { CliError, EXIT, Interrupted, UsageError, type ExitCode } from './exit.ts';
import { BACKFILL_HELP, HELP, LISTEN_HELP, MODEL_HELP } from './help.ts';
import { isClosedPipe } from './output.ts';
import { createReporter } from './reporter.ts';
import { printable } from './units.ts';

/** npm passes a terminal's Ctrl-C on although the terminal has already sent it: one key press, two signals. */
const SAME_PRESS_MS = 500;

process.exitCode = await main(process.argv.slice(2));
// Not left to the event loop: standard input may be a pipe that nobody closes.
process.exit();

async function main([command, ...args]: string[]): Promise<ExitCode> {
  const interrupt = listen();
  try {
    switch (command) {
      case '--version':
        return print(version());
      case '--help':
      case '-h':
        return print(HELP);
      case 'backfill': {
        const wanted = parseBackfill(args);
        if (wanted === 'help') return print(BACKFILL_HELP);
        return await backfill(wanted, interrupt, createReporter(process.stderr, wanted.quiet));
      }
      // Each command loads what it needs, and nothing else: most are over in less time than it would take.
      case 'key': {
        const { createKey } = await import('./key.ts');
        return createKey(args, print, sayLine);
      }
      case 'listen': {
        const { parseListen, receiveWebhooks } = await import('./listen.ts');
        const wanted = parseListen(args);
        if (wanted === 'help') return print(LISTEN_HELP);
        return await receiveWebhooks(wanted, interrupt, print, sayLine);
      }
      case 'model':
        return await model(args, interrupt);
      default:
        throw new UsageError(
          command === undefined
            ? `which command? See ${commandName()} --help`
            : `unknown command ${command}; see ${commandName()} --help`,
        );
    }
  } catch (error) {
    return complain(error);
  }
}

async function model(args: string[], interrupt: AbortSignal): Promise<ExitCode> {
  const { parseModel } = await import('./model/command-line.ts');
  const wanted = parseModel(args);
  if (wanted === 'help') return print(MODEL_HELP);
  if (wanted.kind === 'check') {
    const { check } = await import('./model/check.ts');
    return check(wanted, interrupt, print);
  }
  const { pull } = await import('./model/pull.ts').catch(explainMissing);
  return pull(wanted, interrupt, createReporter(process.stderr, wanted.quiet));
}

/** The published package leaves to whoever pulls models what only that needs. */
function explainMissing(error: unknown): never {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
  throw new CliError(EXIT.failed, 'model pull needs two more packages: npm install @huggingface/hub zod');
}

/** Aborted by the first Ctrl-C or SIGTERM, or when nobody reads standard output any more; a second Ctrl-C ends it at once. */
function listen(): AbortSignal {
  const controller = new AbortController();
  let since = 0;
  const on = (signal: NodeJS.Signals, exitCode: ExitCode) =>
    process.on(signal, () => {
      if (!controller.signal.aborted) {
        since = Date.now();
        controller.abort(new Interrupted(exitCode));
      } else if (Date.now() - since > SAME_PRESS_MS) {
        // As if nobody had listened. process.exit() would wait for what may be stuck.
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
    });
  on('SIGINT', EXIT.interrupted);
  on('SIGTERM', EXIT.terminated);
  process.stdout.on('error', (error: Error) => {
    controller.abort(isClosedPipe(error) ? new Interrupted(EXIT.closedPipe) : error);
  });
  // Without anybody to tell, there is still work to do.
  process.stderr.on('error', () => {});
  return controller.signal;
}

/** Of the package that this is part of: the repository, or the published one. */
function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function print(text: string): ExitCode {
  process.stdout.write(`${text.trimEnd()}\n`);
  return EXIT.ok;
}

function sayLine(line: string): void {
  process.stderr.write(`${line}\n`);
}

function complain(thrown: unknown): ExitCode {
  const { message, stack } = toError(thrown);
  const [lines, exitCode] =
    thrown instanceof CliError
      ? [[message, ...thrown.hints], thrown.exitCode]
      : [[`this is a bug: ${stack}`], EXIT.failed];
  const text = lines.join('\n').split('\n').map(printable).join('\n');
  if (message !== '') process.stderr.write(`amulet: ${text}\n`);
  return exitCode;
}
