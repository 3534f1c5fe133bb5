/** Measures the lag of the event loop: how long a lock renewal or a health check would have had to wait. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

export interface LoopLag {
  p50: number;
  p99: number;
  max: number;
}

const RESOLUTION_MS = 10;
/** Figures cover the last full window, so that a slow start is soon forgotten. */
const WINDOW_MS = 10_000;

/** Starts measuring. The returned function gives the lag in ms over the last window (the running one, at first). */
export function measureLoopLag(): () => LoopLag {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  // The histogram holds the time between two ticks of a timer; the excess over its period is the lag.
  const toMs = (ns: number) => Math.max(0, Math.round(ns / 1e4 - RESOLUTION_MS * 100) / 100);
  const read = (): LoopLag => ({
    p50: toMs(delay.percentile(50)),
    p99: toMs(delay.percentile(99)),
    max: toMs(delay.max),
  });
  let last: LoopLag | undefined;
  setInterval(() => {
    last = read();
    delay.reset();
  }, WINDOW_MS).unref();
  return () => last ?? read();
}
