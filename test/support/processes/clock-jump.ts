/** Preloaded into a process: its clock can be set, as that of a virtual machine is when it wakes up. Timers go on as before. */
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
