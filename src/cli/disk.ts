/** What went wrong on the local disk, for the user. */
import { EXIT, type ExitCode } from './exit.ts';

/** Errors that pass when somebody makes room. */
const FULL: Record<string, string> = {
  ENOSPC: 'no space left on the disk',
  EDQUOT: 'the disk quota is reached',
};

/** @returns undefined when the error is not one of the system's */
export function diskProblem(error: unknown): { exitCode: ExitCode; reason: string } | undefined {
  const { code, syscall, message } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return undefined;
  const full = FULL[code];
  return full === undefined
    ? { exitCode: EXIT.failed, reason: message }
    : { exitCode: EXIT.temporary, reason: full };
}
