/** Preloaded into the processes of a worker (NODE_OPTIONS=--import=…): a run of the model takes TEST_MODEL_TOKEN_MS a token longer. */
import type { Tensor } from 'onnxruntime-node';

type Run = (feeds: Record<string, Tensor>, ...more: unknown[]) => Promise<unknown>;

if (process.argv[1]?.endsWith('model-child.ts')) {
  const { InferenceSession } = await import('onnxruntime-node');
  const tokenMs = Number(process.env.TEST_MODEL_TOKEN_MS);
  const never = new Int32Array(new SharedArrayBuffer(4));
  const { prototype } = InferenceSession as unknown as { prototype: { run: Run } };
  const { run } = prototype;
  prototype.run = function (feeds, ...more) {
    // Blocks the event loop, as a run does.
    Atomics.wait(never, 0, 0, (feeds.input_ids?.size ?? 0) * tokenMs);
    return run.call(this, feeds, ...more);
  };
}
