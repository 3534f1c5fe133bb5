/**
 * Preloaded (`NODE_OPTIONS=--import=…`) into a worker and its model processes: replaces ONNX Runtime by stub-session.ts and
 * leaves everything else as shipped.
 */
import { registerHooks } from 'node:module';

const STUB = new URL('./stub-session.ts', import.meta.url).href;

registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'onnxruntime-node' ? { url: STUB, shortCircuit: true } : next(specifier, context),
});
