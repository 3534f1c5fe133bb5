/**
 * Health check of a container, for every role: asks the ports of all three roles, of which only the container's own answers.
 * Loads no schema of a setting: it runs every few seconds, and the image sets all three ports.
 *
 * Exits with 0 or 1 and prints the answer, which `docker inspect` shows.
 */
import { environment } from '../shared/runtime/environment.ts';
import { toError } from '../shared/runtime/to-error.ts';

/** @throws Error when no process answers, or it is not ready */
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
  // An error of fetch names its reason only in `cause`.
  const reasons = (error instanceof AggregateError ? error.errors : [error])
    .map(toError)
    .map(({ cause, message }) => toError(cause ?? message).message);
  process.stdout.write(`${reasons.join('\n')}\n`);
  process.exitCode = 1;
}
