/** Verification after a soak: reads back all acknowledged work twice, and compares it with the requests. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import type { Batch } from '../../src/shared/contract/batches.ts';
import type { Job } from '../../src/shared/contract/jobs.ts';
import type { WebhookEvent } from '../../src/shared/contract/webhook-events.ts';
import { whatIsLeft } from '../../test/support/redis/invariants.ts';
import type { Cluster } from './cluster.ts';
import type { Load } from './load.ts';
import type { Violations } from './violations.ts';

const AT_ONCE = 16;
/** All work must end eventually after the last fault; this limit does not measure speed. */
const PATIENCE_MS = 180_000;

export async function verify(cluster: Cluster, load: Load, violations: Violations): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  await inParallel([...load.jobs.keys()], (id) => verifyJob(load, violations, id, deadline));
  await inParallel([...load.batches.keys()], (id) => verifyBatch(load, violations, id, deadline));
  await verifyWebhooks(cluster, load, violations, deadline);
  let left = await whatIsLeft(cluster.redis.url, cluster.prefix);
  while (left.length > 0 && Date.now() < deadline) {
    await sleep(1000);
    left = await whatIsLeft(cluster.redis.url, cluster.prefix);
  }
  for (const line of left) violations.add('left behind', line);
}

async function inParallel<T>(items: T[], each: (item: T) => Promise<void>): Promise<void> {
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let item = items.pop(); item !== undefined; item = items.pop()) await each(item);
    }),
  );
}

async function verifyJob(load: Load, violations: Violations, id: string, deadline: number): Promise<void> {
  const known = load.jobs.get(id);
  if (!known) return;
  const read = () => load.call<Job>('GET', `/v1/jobs/${id}?wait=10`);
  let { status, body: job } = await read();
  while (status === 200 && job.finished_at === null && Date.now() < deadline)
    ({ status, body: job } = await read());
  if (status !== 200) {
    violations.add('a lost job', `${id}: ${status}`);
    return;
  }
  if (job.finished_at === null) {
    violations.add('an unfinished job', `${id} is ${job.status}`);
    return;
  }
  if (JSON.stringify((await read()).body) !== JSON.stringify(job))
    violations.add('a job changed after its end', id);
  const { canceled, expires, texts } = known;
  if ((job.status === 'canceled' && canceled) || (job.status === 'expired' && expires)) return;
  if (job.status !== 'succeeded') {
    violations.add('a job with a wrong final status', `${id} is ${job.status}: ${JSON.stringify(job.error)}`);
  } else if (job.results?.length !== texts.length) {
    violations.add('a job with wrong rows', id);
  } else job.results.forEach((row, i) => load.compareRow(texts[i] as string, row));
}

async function verifyBatch(load: Load, violations: Violations, id: string, deadline: number): Promise<void> {
  const { rows } = load.batches.get(id) ?? { rows: [] };
  const read = () => load.call<Batch>('GET', `/v1/batches/${id}`);
  let { status, body: batch } = await read();
  while (status === 200 && batch.finished_at === null && Date.now() < deadline) {
    await sleep(500);
    ({ status, body: batch } = await read());
  }
  if (status !== 200 || batch.status !== 'completed') {
    violations.add('an incomplete batch', `${id}: ${status} ${batch.status}`);
    return;
  }
  const { total, finished, failed } = batch.rows;
  if (total !== rows.length || finished !== total || failed !== 0) {
    violations.add('a batch with wrong counts', `${id}: ${JSON.stringify(batch.rows)} of ${rows.length}`);
  }
  const lines = await readResults(load, id);
  if (lines.length !== rows.length)
    violations.add('a batch with wrong rows', `${id}: ${lines.length} of ${rows.length}`);
  lines.forEach((line, i) => {
    if (line.id !== String(i)) violations.add('a batch out of order', `${id}: ${line.id} in place ${i}`);
    load.compareRow(rows[i] ?? '', line);
  });
}

interface Line {
  id: string;
  label: string;
  score: number;
  truncated: boolean;
}

async function readResults(load: Load, id: string): Promise<Line[]> {
  const lines: Line[] = [];
  for (let after = 0; ;) {
    const [url] = load.urls;
    const page = await fetch(`${url}/v1/batches/${id}/results?after=${after}`, {
      headers: load.authorization,
    });
    const text = await page.text();
    if (text === '') return lines;
    const read = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line & { line: number });
    lines.push(...read);
    after = read.at(-1)?.line ?? after;
  }
}

async function verifyWebhooks(
  cluster: Cluster,
  load: Load,
  violations: Violations,
  deadline: number,
): Promise<void> {
  const wanted = new Set([
    ...[...load.jobs].flatMap(([id, { webhook }]) => (webhook ? [id] : [])),
    ...load.batches.keys(),
  ]);
  const verifier = new Webhook(cluster.secret);
  const seen = new Map<string, string>();
  let checked = 0;
  for (;;) {
    for (; checked < cluster.receiver.received.length; checked++) {
      const { headers, body } = cluster.receiver.received[
        checked
      ] as (typeof cluster.receiver.received)[number];
      const event = JSON.parse(body) as WebhookEvent;
      const { id } = event.data;
      const what = `${String(headers['webhook-id'])} ${body}`;
      if (seen.has(id) && seen.get(id) !== what) violations.add('different events for one final state', id);
      seen.set(id, what);
    }
    if ([...wanted].every((id) => seen.has(id))) break;
    if (Date.now() > deadline) break;
    await sleep(500);
  }
  for (const id of wanted) if (!seen.has(id)) violations.add('a missing webhook', id);
  // Signatures older than five minutes are refused, so only those of the last deliveries are checked.
  for (const { headers, body, at } of cluster.receiver.received) {
    if (Date.now() - at > 240_000) continue;
    try {
      verifier.verify(body, headers as Record<string, string>);
    } catch (error) {
      violations.add('a webhook whose signature is wrong', String(error));
    }
  }
}
