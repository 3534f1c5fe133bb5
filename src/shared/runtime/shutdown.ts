/** Handles signals: stops a process once on SIGTERM or SIGINT, and reloads on SIGHUP. */
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { EXIT_CONFIG, StartupError } from './startup-error.ts';
import { toError } from './to-error.ts';
import type { Logger } from './logger.ts';

/** npm passes a terminal's Ctrl-C on to a child that has received it already: repeats within this time are one key press. */
const SAME_PRESS_MS = 500;

/**
 * Runs `stop` on the first SIGTERM or SIGINT, or when the launcher that started this process has ended, then exits with 0.
 * A second signal, or a stop that takes longer than `timeoutMs`, ends the process at once with status 1.
 */
export function onShutdown(logger: Logger, timeoutMs: number, stop: (reason: string) => Promise<void>): void {
  let stoppingSince: number | undefined;
  const begin = (reason: string) => {
    if (stoppingSince !== undefined) {
      if (performance.now() - stoppingSince < SAME_PRESS_MS) return;
      logger.warn({ reason }, 'second signal: ending at once');
      process.exit(1);
    }
    stoppingSince = performance.now();
    logger.info({ reason }, 'stopping');
    setTimeout(() => {
      logger.error({ timeoutMs }, 'stopping took too long: ending at once');
      process.exit(1);
    }, timeoutMs).unref();
    stop(reason).then(
      () => {
        logger.info('stopped');
        process.exit(0);
      },
      (error: unknown) => {
        logger.error({ err: toError(error) }, 'stopping failed');
        process.exit(1);
      },
    );
  };
  for (const [signal, end] of AT_ONCE) {
    // In this order: Node drops a pending signal when no listener is left, even for a moment.
    process.on(signal, () => begin(signal));
    process.off(signal, end);
  }
  process.off('disconnect', endWithLauncher);
  process.on('disconnect', () => begin('the launcher has ended'));
}

/** Whether the process is on a terminal: then SIGHUP means that its window was closed, and the process stops. */
export const isOnTerminal = (): boolean => [0, 1, 2].some((fd) => isatty(fd));

/** Calls `reload` at each SIGHUP, which asks a process without a terminal to read its files again. */
export function onReload(reload: () => void): void {
  if (!isOnTerminal()) process.on('SIGHUP', reload);
}

/** Exits when the launcher ends during start-up: nothing would stop this process later. */
const endWithLauncher = () => process.exit(1);

/**
 * Handlers for signals during start-up. The first process of a container needs them: signals without a listener never reach it, and
 * it would finish starting after the signal to stop.
 */
const AT_ONCE = new Map<NodeJS.Signals, () => void>(
  (['SIGTERM', 'SIGINT'] as const).map((signal) => [
    signal,
    () => process.exit(128 + constants.signals[signal]),
  ]),
);

/**
 * Runs a process's start-up. A StartupError becomes one line and exit status 78, which tells a supervisor that a restart would not
 * help; any other error is logged in full, with status 1.
 */
export async function runMain(logger: Logger, start: () => Promise<void>): Promise<void> {
  process.on('unhandledRejection', (error) => {
    logger.fatal({ err: toError(error) }, 'unhandled rejection: this is a bug');
    process.exit(1);
  });
  for (const [signal, end] of AT_ONCE) process.on(signal, end);
  process.on('disconnect', endWithLauncher);
  if (process.send !== undefined && !process.connected) endWithLauncher();
  try {
    await start();
  } catch (error) {
    if (error instanceof StartupError) {
      logger.fatal(error.message);
      process.exit(EXIT_CONFIG);
    }
    logger.fatal({ err: toError(error) }, `start-up failed: ${toError(error).message}`);
    process.exit(1);
  }
}

/** Tells the launcher, if any, that this process is ready; the launcher prints `detail`. */
export function announceReady(detail: string): void {
  // A launcher that has died meanwhile is no error here: its 'disconnect' stops this process in order.
  process.send?.({ ready: detail }, undefined, undefined, () => {});
}
