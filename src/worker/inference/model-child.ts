/**
 * Entry of the model child: the process that does nothing but run the session. Its event loop is blocked for the whole of
 * every run (onnxruntime-node's run is synchronous native code), and a native crash takes only this process with it.
 */
import { StartupError, toError } from '../../shared/errors.ts';
import { Model } from './model.ts';
import type { FromChild, ToChild } from './protocol.ts';

let model: Model | undefined;

function send(message: FromChild): void {
  // The parent may have died during a run: the disconnect that ends this process is then still to be read.
  process.send?.(message, undefined, undefined, () => {});
}

async function handle(message: ToChild): Promise<void> {
  if (message.type === 'load') {
    try {
      model = await Model.load(message);
      send({ type: 'ready', outputs: await model.warmUp() });
    } catch (error) {
      if (!(error instanceof StartupError)) throw error;
      send({ type: 'unusable', message: error.message });
    }
    return;
  }
  try {
    if (!model) throw new Error('run before load. This is a bug.');
    const start = performance.now();
    const { values } = await model.run(message);
    send({ type: 'result', id: message.id, logits: values, ms: performance.now() - start });
  } catch (error) {
    send({ type: 'error', id: message.id, message: toError(error).message });
  }
}

process.on('message', (message: ToChild) => void handle(message));
// The parent decides when this process ends: it drains first. A terminal's Ctrl-C reaches the whole process group.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('disconnect', () => process.exit(0));
