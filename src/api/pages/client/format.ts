/** Formats numbers for people. */
import { count } from '../../../shared/contract/quantities.ts';

const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** Numbers from here on are shortened where space is scarce. */
const LONG = 100_000;

/** `9,431`, `309.4K` */
export const shortCount = (value: number): string => (value < LONG ? count(value) : compact.format(value));

/** `3.2`, `1,650` */
export const rate = (perSecond: number): string =>
  perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : shortCount(perSecond);

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** `512 B`, `12.7 MB` */
export function bytes(value: number): string {
  const power = Math.min(Math.floor(Math.log10(Math.max(value, 1)) / 3), UNITS.length - 1);
  return `${(value / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${UNITS[power]}`;
}

/** `12 ms`, `3.4 s` */
export const elapsed = (ms: number): string =>
  ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** `40 s`, `12 min`, `3 h 20 min`, `2 d 4 h` */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A score: `98.4 %` where all scores are between 0 and 1, else the plain number. */
export const score = (value: number, shares: boolean): string =>
  shares ? `${(value * 100).toFixed(1)} %` : value.toFixed(3);

/** `17:03:05` of a Unix time in ms. */
export const clock = (time: number): string => new Date(time).toLocaleTimeString('en', { hourCycle: 'h23' });

/** What happened to a job or batch: `The job failed`, `The batch was canceled`, `The job is queued`. */
export function stateSentence(subject: string, status: string): string {
  if (status === 'failed' || status === 'expired') return `${subject} ${status}`;
  return `${subject} ${status === 'canceled' ? 'was' : 'is'} ${status}`;
}

/** Begins a message of the API, which continues a sentence of a program, like a sentence for people. */
export const capitalized = (message: string): string =>
  message.replace(/^\p{Ll}/u, (letter) => letter.toUpperCase());
