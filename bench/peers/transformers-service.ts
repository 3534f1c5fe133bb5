/**
 * `@huggingface/transformers` behind Hono: its `text-classification` pipeline, created once per process, and one process
 * per core that share a port.
 */
import cluster from 'node:cluster';
import { createRequire } from 'node:module';
import path from 'node:path';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { z } from 'zod';

/** What is used of the package, which is not among this project's dependencies. */
interface Transformers {
  env: { allowRemoteModels: boolean; localModelPath: string };
  pipeline: (
    task: 'text-classification',
    model: string,
    options: { dtype: 'q8'; session_options?: { intraOpNumThreads: number } },
  ) => Promise<(text: string) => Promise<{ label: string; score: number }[]>>;
}

const { MODEL_DIR, PORT, PROCESSES, INTRA_OP_THREADS, PACKAGES } = process.env as Record<string, string>;
const PredictRequest = z.object({ text: z.string().min(1).max(5000) });

if (cluster.isPrimary && Number(PROCESSES) > 1) {
  for (let i = 0; i < Number(PROCESSES); i++) cluster.fork();
} else {
  const { env, pipeline } = createRequire(path.join(PACKAGES!, 'package.json'))(
    '@huggingface/transformers',
  ) as Transformers;
  env.allowRemoteModels = false;
  env.localModelPath = path.dirname(MODEL_DIR!);
  const classifier = await pipeline('text-classification', path.basename(MODEL_DIR!), {
    dtype: 'q8',
    // 0: what ONNX Runtime takes by itself, which is one thread per core.
    ...(Number(INTRA_OP_THREADS) > 0 && { session_options: { intraOpNumThreads: Number(INTRA_OP_THREADS) } }),
  });
  await classifier('warm up');

  const app = new Hono();
  app.post('/predict', async (c) => {
    const body = PredictRequest.safeParse(await c.req.json());
    if (!body.success) return c.json({ error: body.error.issues }, 422);
    const [best] = await classifier(body.data.text);
    return c.json(best);
  });
  serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(PORT) }, () => console.log('ready'));
}
