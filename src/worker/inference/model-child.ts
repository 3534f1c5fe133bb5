/**
 * Entry of the model child, a process that only runs the session. Its event loop is blocked during every run (onnxruntime-node's
 * run is synchronous native code), and a native crash ends only this process.
 */
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { Model } from './model.ts';
import type { FromChild, LoadMessage, RunMessage, ToChild } from './protocol.ts';

let model: Model | undefined;

function send(message: FromChild): void {
  // Ignores errors: if the parent died during a run, the disconnect event, which ends this process, comes later.
  process.send?.(message, undefined, undefined, () => {});
}

async function load(message: LoadMessage): Promise<void> {
  try {
    model = await Model.load(message);
    send({ type: 'ready', graph: await model.warmUp() });
  } catch (error) {
    if (!(error instanceof StartupError)) throw error;
    send({ type: 'unusable', message: error.message });
  }
}

async function run(message: RunMessage): Promise<void> {
  try {
    if (!model) throw new Error('run before load. This is a bug.');
    const start = performance.now();
    const { values } = await model.run(message);
    send({ type: 'result', id: message.id, logits: values, ms: performance.now() - start });
  } catch (error) {
    send({ type: 'error', id: message.id, message: toError(error).message });
  }
}

const waiting: RunMessage[] = [];
let running = false;

/** A turn of the event loop. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Runs the waiting batches, urgent ones first. */
async function runAll(): Promise<void> {
  if (running) return;
  running = true;
  while (waiting.length > 0) {
    if (!waiting.some(({ urgent }) => urgent)) {
      // An urgent batch may have come during the last run. It is read in the next turn but one: what a turn reads is fixed when
      // the turn begins.
      await turn();
      await turn();
    }
    const urgent = waiting.findIndex((message) => message.urgent);
    const [next] = waiting.splice(Math.max(0, urgent), 1);
    if (next) await run(next);
  }
  running = false;
}

process.on('message', (message: ToChild) => {
  if (message.type === 'load') {
    void load(message);
    return;
  }
  waiting.push(message);
  void runAll();
});
// A terminal's Ctrl-C reaches the whole process group, but the parent drains first, and then ends this process.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
process.on('disconnect', () => process.exit(0));
