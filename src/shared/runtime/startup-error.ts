/** How a process ends when its configuration or its model is wrong. */

/**
 * Configuration or model is wrong in a way that a restart cannot mend: the process ends with EXIT_CONFIG and this
 * message as its last line, and the launcher does not start it again.
 */
export class StartupError extends Error {
  override name = 'StartupError';

  /** @param message made into one line: that of a parser may quote several of a file */
  constructor(message: string, options?: ErrorOptions) {
    super(message.replace(/\s*[\r\n]\s*/g, ' '), options);
  }
}

/** EX_CONFIG of sysexits.h. */
export const EXIT_CONFIG = 78;
