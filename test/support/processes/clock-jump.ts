/** Preloaded into a process: lets a test set its clock, as a virtual machine does on waking. Timers are not affected. */
import type { Serializable } from 'node:child_process';

const RealDate = Date;
let offsetMs = 0;

class JumpingDate extends RealDate {
  constructor(...args: [] | [number]) {
    if (args.length === 0) super(RealDate.now() + offsetMs);
    else super(...args);
  }

  static override now(): number {
    return RealDate.now() + offsetMs;
  }
}

globalThis.Date = JumpingDate as DateConstructor;
process.on('message', (message: Serializable) => {
  if (typeof message !== 'object' || !('clockJumpMs' in message)) return;
  offsetMs += Number(message.clockJumpMs);
  process.send?.({ clock: Date.now() });
});
// The listener above is not to keep the process running.
process.channel?.unref();
