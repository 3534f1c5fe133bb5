/**
 * Preloaded into a watched process: measures the longest block of its event loop. A timer that is due every few ms is
 * late by as much as one turn of the loop took; CPU time of the main thread between two of its calls tells a block from a
 * machine that has other work. Answers the message 'loop' with the longest since the last one.
 */
const EVERY_MS = 5;

/** CPU time of the main thread, ms. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

export interface LoopBlock {
  /** Longest time between two turns of the loop, ms. */
  blockMs: number;
  /** CPU time that the main thread used within one turn of the loop at most, ms. */
  blockCpuMs: number;
}

let longest: LoopBlock = { blockMs: 0, blockCpuMs: 0 };
let lastAt = performance.now();
let lastCpu = cpuMs();

setInterval(() => {
  const at = performance.now();
  const cpu = cpuMs();
  longest.blockMs = Math.max(longest.blockMs, at - lastAt - EVERY_MS);
  longest.blockCpuMs = Math.max(longest.blockCpuMs, cpu - lastCpu);
  lastAt = at;
  lastCpu = cpu;
}, EVERY_MS).unref();

process.on('message', (message) => {
  if (message !== 'loop') return;
  process.send?.({ loop: longest });
  longest = { blockMs: 0, blockCpuMs: 0 };
});
// Listening must not keep the process from ending.
process.channel?.unref();
