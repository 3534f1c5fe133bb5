/** Numbers and labels for people to read. */
import { count } from '../../shared/contract/quantities.ts';

const BYTE_UNITS = ['KB', 'MB', 'GB', 'TB'];

/** `512 B`, `12.7 MB` */
export function bytes(value: number): string {
  let unit = 'B';
  let scaled = value;
  for (const next of BYTE_UNITS) {
    if (scaled < 999.95) break;
    scaled /= 1000;
    unit = next;
  }
  return `${unit === 'B' ? String(Math.round(scaled)) : scaled.toFixed(1)} ${unit}`;
}

/** `0:07`, `12:34`, `1:02:03`, `3 d 4 h` */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const days = Math.floor(whole / 86_400);
  const hours = Math.floor(whole / 3600) % 24;
  const minutes = Math.floor(whole / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  const two = (value: number) => String(value).padStart(2, '0');
  if (hours > 0) return `${hours}:${two(minutes)}:${two(whole % 60)}`;
  return `${minutes}:${two(whole % 60)}`;
}

/** Time since then, in the form of duration(). @param time Unix ms */
export function elapsedSince(time: number): string {
  return duration((Date.now() - time) / 1000);
}

/** Rows per second: `1,650/s`, `3.2/s` */
export function rate(perSecond: number): string {
  return `${perSecond >= 9.95 ? count(perSecond) : perSecond.toFixed(1)}/s`;
}

export { shellWord } from '../../shared/bulk/convert.ts';
export { count, percent, plural } from '../../shared/contract/quantities.ts';

/** Length of the longest label. */
export const LABEL_WIDTH = 'Classifying'.length;

/** A line of the report: `Uploaded    309,431 rows` */
export function entry(label: string, text: string): string {
  return `${label.padEnd(LABEL_WIDTH)} ${text}`;
}
