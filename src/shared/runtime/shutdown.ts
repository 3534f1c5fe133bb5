/** Handles signals: stops a process once on SIGTERM or SIGINT, and reloads on SIGHUP. */
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { EXIT_CONFIG, StartupError } from './startup-error.ts';
import { toError } from './to-error.ts';
import type { Logger } from './logger.ts';

/** npm passes a terminal's Ctrl-C on to a child that already got it: repeats this soon are the same key press. */
const SAME_PRESS_MS = 500;

/**
 * Runs `stop` once on the first SIGTERM or SIGINT, or when the launcher that started this process is gone, then exits 0.
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
    // In this order: Node forgets a signal that has come already when nobody listens, if only for a moment.
    process.on(signal, () => begin(signal));
    process.off(signal, end);
  }
  process.off('disconnect', endWithLauncher);
  process.on('disconnect', () => begin('the launcher is gone'));
}

/** Whether a terminal is there to be closed: then SIGHUP says that it was, and means the end. */
export const isOnTerminal = (): boolean => [0, 1, 2].some((fd) => isatty(fd));

/** Calls `reload` at each SIGHUP, by which a process that has no terminal is asked to read its files again. */
export function onReload(reload: () => void): void {
  if (!isOnTerminal()) process.on('SIGHUP', reload);
}

/** The launcher is gone before there is anything to stop: nobody would end what comes up later. */
const endWithLauncher = () => process.exit(1);

/**
 * Signals before there is anything to stop. The first process of a container must listen to them itself: what it has no
 * listener for never reaches it, and it would come up after it was told to go.
 */
const AT_ONCE = new Map<NodeJS.Signals, () => void>(
  (['SIGTERM', 'SIGINT'] as const).map((signal) => [
    signal,
    () => process.exit(128 + constants.signals[signal]),
  ]),
);

/**
 * Runs a process's start-up. A StartupError becomes one line and exit status 78, which tells whoever supervises the
 * process that starting it again would not help; anything else is logged in full, status 1.
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

/** Tells the launcher, if there is one, that this part is up; `detail` ends up in the launcher's line. */
export function announceReady(detail: string): void {
  // A launcher that died meanwhile is no error here: its disconnect stops this process in order.
  process.send?.({ ready: detail }, undefined, undefined, () => {});
}
