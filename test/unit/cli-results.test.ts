/** Rows that an output keeps while its batch is restarted with other weights. */
import { expect, test } from 'vitest';
import type { BatchClient } from '../../src/client/batches.ts';
import { Retrier } from '../../src/client/retry.ts';
import { Outcomes } from '../../src/cli/backfill/output/outcomes.ts';
import { followResults } from '../../src/cli/backfill/output/results.ts';
import type { Output } from '../../src/cli/backfill/output/output.ts';
import type { Batch } from '../../src/shared/contract/batches.ts';

const signal = new AbortController().signal;

class MemoryOutput implements Output {
  text = '';
  readonly outcomes = new Outcomes();
  get rows(): number {
    return this.text.split('\n').length - 1;
  }
  get lastLine(): Buffer {
    return Buffer.from(this.text.split('\n').at(-2) ?? '');
  }
  write(lines: Buffer): Promise<void> {
    this.text += lines.toString();
    return Promise.resolve();
  }
  clear(): Promise<void> {
    this.text = '';
    return Promise.resolve();
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

const row = (line: number, label: string) => `${JSON.stringify({ line, label })}\n`;
const batch = (status: Batch['status'], revision: string | null) =>
  ({ id: 'b', status, model: { name: 'm', revision }, rows: { total: 2 } }) as Batch;

test('rows of the old weights are removed as soon as the batch has no weights, since the next ones are unknown', async () => {
  const output = new MemoryOutput();
  output.text = row(1, 'old');
  const states = [batch('queued', null), batch('processing', 'r2'), batch('completed', 'r2')];
  /** Rows of the output at each look at the batch. */
  const rows: number[] = [];
  const client: Pick<BatchClient, 'get' | 'followResults'> = {
    get: () => {
      rows.push(output.rows);
      return Promise.resolve(states[rows.length - 1]!);
    },
    // eslint-disable-next-line @typescript-eslint/require-await
    followResults: async (_id, after) => {
      expect(after).toBe(0);
      // eslint-disable-next-line @typescript-eslint/require-await
      return (async function* () {
        yield Buffer.from(row(1, 'new') + row(2, 'new'));
      })();
    },
  };
  let known: string | undefined = 'r1';
  const revision = {
    get known() {
      return known;
    },
    save: (next: string) => {
      known = next;
      return Promise.resolve();
    },
  };
  const retrier = new Retrier({ retryTimeoutMs: 1000, signal });
  const source = { client: client as BatchClient, retrier, batch: 'b', signal };
  expect(await followResults(source, output, revision)).toMatchObject({ status: 'completed' });
  expect(rows).toEqual([1, 0, 2]);
  expect(output.text).toBe(row(1, 'new') + row(2, 'new'));
  expect(known).toBe('r2');
});
