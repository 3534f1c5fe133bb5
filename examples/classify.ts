/**
 * Amulet from TypeScript. npm install amulet-classify, then, on Node 24 (or 22.18):
 *   AMULET_URL=http://127.0.0.1:3000 node classify.ts
 */
import { AmuletClient, ApiError, ClassificationError } from 'amulet-classify';

const amulet = new AmuletClient({
  url: process.env.AMULET_URL ?? 'http://127.0.0.1:3000',
  apiKey: process.env.AMULET_API_KEY,
});

// One text and its labels. Requests that fail for a temporary reason are retried, without making a second job.
const { label, score } = await amulet.classify('utterly charming');
console.log(`${label} ${score.toFixed(3)}`);

// Several texts make one job. It is on disk when submit() resolves: another program may wait for its id.
const job = await amulet.submit(['a stirring re-imagining', { id: 'r2', text: 'a tedious mess' }], {
  top_k: null, // all labels
  metadata: { source: 'example' },
});
console.log(`${job.id} is ${job.status}`);
const { results } = await amulet.wait(job.id, { timeoutMs: 60_000 });
for (const [i, result] of (results ?? []).entries()) {
  // The model may fail on one text; the others have their labels.
  const outcome = 'error' in result ? result.error.code : result.label;
  console.log(`${result.id ?? i}: ${outcome}`);
}

// Any number of texts are a batch: a list, a generator, a database cursor, or a file by fromFile() of 'amulet-classify/node'.
function* reviews() {
  for (let id = 1; id <= 1000; id++)
    yield { id, text: id % 3 === 0 ? 'dull and overlong' : 'a joy to watch' };
}
const batch = await amulet.batch(reviews());
const counts = new Map<string, number>();
// Rows arrive in order, as they are finished, even over broken connections.
for await (const row of batch.results()) {
  const outcome = 'error' in row ? row.error.code : row.label;
  counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
}
console.log(Object.fromEntries(counts));

// Errors have a code.
try {
  await amulet.classify(' ');
} catch (error) {
  if (error instanceof ApiError) console.log(error.status, error.code, error.errors[0]?.message);
  else if (error instanceof ClassificationError) console.log(error.code, error.job.id);
  else throw error;
}

// For notifications instead of polling, see docs/webhooks.md: submit(…, { webhook: { url } }), and verifyWebhook() in the receiver.
