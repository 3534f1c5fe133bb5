/**
 * An API with a heap of 512 MB and a worker with 400 MB, attacked with one key: the same processes live on, another key's
 * requests are answered meanwhile, and the attacker gets the answers that the documentation promises.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFailed, test } from 'vitest';
import { AttackedStack } from '../support/attacks/attacked-stack.ts';
import { Attacker, type Outcome } from '../support/attacks/attacker.ts';
import { attackNamed } from '../support/attacks/attacks.ts';
import { eventually } from '../support/processes/stack.ts';

/** The largest answer to a body of any size. */
const MAX_ANSWER_BYTES = 65_536;

let stack: AttackedStack;
beforeAll(async () => {
  stack = await AttackedStack.start({
    apiHeapMb: 512,
    workerHeapMb: 400,
    webhooks: true,
    // How long another caller waits is for the bench: here a busy machine must not look like a server that is down.
    env: { REDIS_TIMEOUT_MS: '20000' },
  });
});
afterAll(() => stack.stop());

/**
 * Runs an attack while another key calls; both must fare as they should.
 * @param answered whether all answers have come that are expected; a busy machine needs longer for them than the attack lasts
 * @returns what the attacker was answered
 */
async function survive(
  name: string,
  answered: (outcomes: readonly Outcome[]) => boolean = () => true,
): Promise<readonly Outcome[]> {
  onTestFailed(() => {
    for (const [process, { output }] of Object.entries(stack.processes))
      console.log(process, output.slice(-2000));
  });
  const attack = attackNamed(name);
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), attack.seconds * 1000);
  stack.api.child.once('exit', () => over.abort());
  const attacker = new Attacker(stack, stack.keys.mallory, over.signal);
  const end = new AbortController();
  const attacked = attacker
    .attack(attack.run)
    .then(() => eventually(() => Promise.resolve(answered(attacker.outcomes) || undefined)))
    .finally(() => end.abort());
  const statuses: number[] = [];
  while (!end.signal.aborted) {
    const { status } = await fetch(`${stack.url}/predict`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${stack.keys.alice}`, 'Content-Type': 'application/json' },
      body: '{"text":"utterly charming"}',
    });
    statuses.push(status);
    await sleep(50);
  }
  await attacked;
  clearTimeout(timer);
  attacker.release();
  expect(await stack.ended()).toEqual([]);
  expect(statuses.length).toBeGreaterThan(0);
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
  expect(attacker.outcomes.filter(({ bytes }) => bytes > MAX_ANSWER_BYTES)).toEqual([]);
  return attacker.outcomes;
}

const statusesOf = (outcomes: readonly Outcome[]) =>
  [...new Set(outcomes.map(({ status }) => status))].sort((a, b) => Number(a) - Number(b));

describe('a JSON body of 9.9 MB', () => {
  test.each([
    'JSON, webhook.events: 5 million numbers',
    'JSON, hf: options of 800,000 keys',
    'JSON, metadata: 1.6 million levels of objects',
    'JSON, one key of 9.9 MB',
  ])('%s', async (name) => {
    expect(statusesOf(await survive(name))).toEqual([422]);
  });

  test('twelve at once', async () => {
    const statuses = statusesOf(await survive('JSON, 12 at once: 700,000 unknown keys'));
    expect(statuses).toContain(422);
    // Those that are more than one caller may have in flight.
    expect(statuses.filter((status) => status !== 422 && status !== 503)).toEqual([]);
  });
});

test('bodies that stop before their end: only a few are waited for', async () => {
  const refused = (all: readonly Outcome[]) => all.filter(({ status }) => status === 503).length;
  const outcomes = await survive('60 bodies that stop at 9.9 of 10 MB', (all) => refused(all) > 53);
  expect(outcomes.filter(({ status }) => status === 'held').length).toBeLessThan(7);
  expect(refused(outcomes)).toBeGreaterThan(53);
});

test('parts whose headers have 500,000 columns', async () => {
  const outcomes = await survive('40 parts with a CSV header of 1 MB, the same in each');
  expect(statusesOf(outcomes)).toEqual([201, 422]);
});

test('waits for one job of 256 long texts: all are held, and the job is not read for each', async () => {
  const outcomes = await survive('2,000 waits for one job');
  const submitted = outcomes.filter(({ status }) => status === 202).length;
  expect(submitted).toBe(40);
  expect(outcomes.filter(({ status }) => status === 'held')).toHaveLength(2000);
});
