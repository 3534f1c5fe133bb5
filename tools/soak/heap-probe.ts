/**
 * Preloaded into a watched process: answers the message 'heap' with the bytes in use after a full garbage collection.
 * The resident size alone does not tell a leak from a heap that has grown to what its load needs.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

process.on('message', (message) => {
  if (message !== 'heap') return;
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  process.send?.({ heapBytes: heapUsed + external });
});
// Listening must not keep the process alive.
process.channel?.unref();
