/**
 * A model child for tests: two logits per row, made from its first token id. Some ids misbehave, as texts in a real model
 * might: 666 kills the process as a native crash would, 667 throws, 668 never answers, 669 sleeps. A model file that is given
 * by its absolute path must be there.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { FromChild, ToChild } from '../../../src/worker/inference/protocol.ts';

const send = (message: FromChild) => process.send?.(message);

process.on('message', (message: ToChild) => {
  if (message.type === 'load') {
    const { onnxFile } = message;
    if (onnxFile === 'unusable' || (path.isAbsolute(onnxFile) && !existsSync(onnxFile)))
      send({ type: 'unusable', message: 'this model is no good' });
    else
      send({ type: 'ready', graph: { inputs: [], output: { name: 'logits', type: 'float32', width: 2 } } });
    return;
  }
  const { id, ids, lengths } = message;
  if (ids.includes(666)) process.kill(process.pid, 'SIGSEGV');
  if (ids.includes(668)) return;
  if (ids.includes(667)) {
    send({ type: 'error', id, message: 'the model threw' });
    return;
  }
  const logits = new Float32Array(lengths.length * 2);
  let offset = 0;
  lengths.forEach((length, row) => {
    logits.set([ids[offset]!, lengths.length], row * 2);
    offset += length;
  });
  const answer = () => send({ type: 'result', id, logits, ms: 1 });
  if (ids.includes(669)) setTimeout(answer, 300);
  else answer();
});
process.on('disconnect', () => process.exit(0));
