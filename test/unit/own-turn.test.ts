/** ownTurn(): large pieces of work are spread over turns of the event loop. */
import { expect, test } from 'vitest';
import { ownTurn } from '../../src/api/load/own-turn.ts';

test('other work runs between two callers of ownTurn()', async () => {
  const ran: string[] = [];
  const others = (count: number) => {
    ran.push('other');
    if (count > 1) setImmediate(others, count - 1);
  };
  setImmediate(others, 3);
  await Promise.all(['first', 'second', 'third'].map((name) => ownTurn().then(() => ran.push(name))));
  expect(ran).toEqual(['other', 'first', 'other', 'second', 'other', 'third']);
});
