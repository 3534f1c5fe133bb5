/**
 * What Docker asks about a container of any role: does the process in it take work? Whichever the role is, it alone answers
 * here. Loads no schema of a setting: this runs every few seconds, and the image sets all three ports.
 *
 * Ends with 0 or 1, and says what was answered; `docker inspect` shows that.
 */
import { environment } from '../shared/runtime/environment.ts';
import { toError } from '../shared/runtime/to-error.ts';

/** @throws Error when nobody is there, or is not ready */
async function ask(port: string | undefined): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${port}/health/ready`);
  const body = await response.text();
  if (!response.ok) throw new Error(`port ${port}: ${response.status} ${body}`);
  return body;
}

try {
  const { PORT, WORKER_PORT, WEBHOOK_HEALTH_PORT } = environment();
  process.stdout.write(`${await Promise.any([PORT, WORKER_PORT, WEBHOOK_HEALTH_PORT].map(ask))}\n`);
} catch (error) {
  // What fetch throws says why in its cause alone.
  const reasons = (error instanceof AggregateError ? error.errors : [error])
    .map(toError)
    .map(({ cause, message }) => toError(cause ?? message).message);
  process.stdout.write(`${reasons.join('\n')}\n`);
  process.exitCode = 1;
}
