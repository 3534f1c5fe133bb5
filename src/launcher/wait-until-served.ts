/** When `npm start` may say that Amulet is ready: a worker has classified a text, and the API knows of that worker. */
import { setTimeout as sleep } from 'node:timers/promises';
import { hasKeys, type Config } from '../shared/runtime/config.ts';

const POLL_MS = 100;
/** A worker that is up is on the API's list within seconds, unless Redis is away. */
const PATIENCE_MS = 60_000;

/**
 * Waits until the API has a worker for one of the models.
 * @param models the one that matters most first; the others are looked at only with it
 * @returns the first that is served; undefined when none is, or it is no use to wait any longer
 */
export async function waitUntilServed(
  address: string,
  models: readonly string[],
  isStopping: () => boolean,
  patienceMs = PATIENCE_MS,
): Promise<string | undefined> {
  const until = performance.now() + patienceMs;
  while (!isStopping() && performance.now() < until) {
    const live = await liveWorkers(address);
    const served = models.find((model) => (live[model] ?? 0) > 0);
    if (served !== undefined) return served;
    await sleep(POLL_MS);
  }
  return undefined;
}

/** Live workers by model; none while Redis is away. */
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

/** A command that shows a label. @param model that is served; undefined: none is known */
export function tryCommand(address: string, config: Config, model: string | undefined): string {
  const key = hasKeys(config) ? ` -H "Authorization: Bearer $AMULET_API_KEY"` : '';
  const named = model === undefined || model === config.DEFAULT_MODEL ? '' : `, "model": "${model}"`;
  const text = 'a stirring, funny and finally transporting re-imagining of beauty and the beast';
  return `curl -s ${address}/predict${key} -H 'Content-Type: application/json' -d '{"text": "${text}"${named}}'`;
}
