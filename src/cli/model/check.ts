import type { ExitCode } from '../exit.ts';
import type { CheckCommand } from './command-line.ts';
export function check(_command: CheckCommand, _signal: AbortSignal): Promise<ExitCode> {
  return Promise.resolve(0);
}
