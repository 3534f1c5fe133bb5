/** Waits until the API knows a worker that serves the model: then `npm start` prints that Amulet is ready. */
import { setTimeout as sleep } from 'node:timers/promises';
import { hasKeys, type Config } from '../shared/runtime/config.ts';

const POLL_MS = 100;
/** A running worker is registered within seconds, unless Redis is unreachable. */
const TIMEOUT_MS = 60_000;

/**
 * Waits until the API has a worker for one of the models.
 * @param models most important first
 * @returns the first of them that is served; undefined after the timeout, or when the launcher stops
 */
export async function waitUntilServed(
  address: string,
  models: readonly string[],
  isStopping: () => boolean,
  timeoutMs = TIMEOUT_MS,
): Promise<string | undefined> {
  const until = performance.now() + timeoutMs;
  while (!isStopping() && performance.now() < until) {
    const live = await liveWorkers(address);
    const served = models.find((model) => (live[model] ?? 0) > 0);
    if (served !== undefined) return served;
    await sleep(POLL_MS);
  }
  return undefined;
}

/** Live workers by model; none while Redis is unreachable. */
async function liveWorkers(address: string): Promise<Record<string, number>> {
  try {
    const answer = (await (await fetch(`${address}/health/ready`)).json()) as {
      models?: Record<string, number>;
    };
    return answer.models ?? {};
  } catch {
    return {};
  }
}

/** A curl command that classifies a text. @param model a served one; undefined: none is known */
export function tryCommand(address: string, config: Config, model: string | undefined): string {
  const key = hasKeys(config) ? ` -H "Authorization: Bearer $AMULET_API_KEY"` : '';
  const named = model === undefined || model === config.DEFAULT_MODEL ? '' : `, "model": "${model}"`;
  const text = 'a stirring, funny and finally transporting re-imagining of beauty and the beast';
  return `curl -s ${address}/predict${key} -H 'Content-Type: application/json' -d '{"text": "${text}"${named}}'`;
}
