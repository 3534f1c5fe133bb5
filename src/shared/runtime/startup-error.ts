/** StartupError: a wrong configuration or model ends the process with one line. */

/**
 * A mistake in configuration or model that a restart cannot cure: the process ends with EXIT_CONFIG and this message as its last
 * line, and the launcher does not restart it.
 */
export class StartupError extends Error {
  override name = 'StartupError';

  /** @param message becomes one line: a parser's message may quote several lines of a file */
  constructor(message: string, options?: ErrorOptions) {
    super(message.replace(/\s*[\r\n]\s*/g, ' '), options);
  }
}

/** EX_CONFIG of sysexits.h. */
export const EXIT_CONFIG = 78;
