/**
 * Ids of jobs, batches and events. A job id is `<32 hex digits>-<n or l>-<model>`, for example
 * `019aaf3c5e7b7c3b9d0e5f1a2b3c4d5e-n-sentiment-multilingual`.
 *
 * The digits are the Unix time in ms (12), random digits of the job's group (10), and random digits of the job (10). So ids are
 * ordered by time and name their queue and group, any API instance finds a job by its id alone, and one job's id cannot be guessed
 * from another's.
 */
import { NAME_PATTERN } from './names.ts';

/** How urgent a job is. `normal` is answered first, `low` never starves. */
export type Priority = 'normal' | 'low';

const LETTER: Record<Priority, string> = { normal: 'n', low: 'l' };
const TIME_DIGITS = 12;
const GROUP_DIGITS = 22;
const ID_DIGITS = 32;
export const JOB_ID = new RegExp(`^([0-9a-f]{32})-([nl])-(${NAME_PATTERN})$`);

export interface JobIdParts {
  priority: Priority;
  model: string;
  /** Id of the group; also its id in BullMQ. */
  group: string;
  /** Unix ms. */
  createdAt: number;
}

/** Id of a group of jobs in one BullMQ job: the id of any of its jobs without the job's own digits. */
export function newGroupId(priority: Priority, model: string): string {
  const time = Date.now().toString(16).padStart(TIME_DIGITS, '0');
  return `${time}${tenDigits()}-${LETTER[priority]}-${model}`;
}

/** Id of a new job in a group. */
export function newJobId(group: string): string {
  return group.slice(0, GROUP_DIGITS) + tenDigits() + group.slice(GROUP_DIGITS);
}

/** The parts of a job id; undefined when it is not one. */
export function parseJobId(id: string): JobIdParts | undefined {
  const match = JOB_ID.exec(id);
  if (!match) return undefined;
  const [, digits, letter, model] = match as unknown as [string, string, string, string];
  return {
    priority: letter === 'l' ? 'low' : 'normal',
    model,
    group: `${digits.slice(0, GROUP_DIGITS)}-${letter}-${model}`,
    createdAt: Number.parseInt(digits.slice(0, TIME_DIGITS), 16),
  };
}

export const BATCH_ID = new RegExp(`^([0-9a-f]{32})-b-(${NAME_PATTERN})$`);

/** Id of a new batch: like a job's, ordered by time and naming its model. */
export function newBatchId(model: string): string {
  const time = Date.now().toString(16).padStart(TIME_DIGITS, '0');
  return `${time}${tenDigits()}${tenDigits()}-b-${model}`;
}

/** The model of a batch; undefined when `id` is not a batch id. */
export function batchModel(id: string): string | undefined {
  return BATCH_ID.exec(id)?.[2];
}

export const EVENT_ID = /^evt_[0-9a-f]{32}$/;

/**
 * Id of an event, and of its delivery: the time of the event, and the digits that identify its job or batch.
 * @param source id of a job or batch
 * @param at Unix ms
 */
export function eventId(source: string, at: number): string {
  return `evt_${at.toString(16).padStart(TIME_DIGITS, '0')}${source.slice(TIME_DIGITS, ID_DIGITS)}`;
}

/** Time of an event, in Unix ms. */
export function eventTime(id: string): number {
  return Number.parseInt(id.slice('evt_'.length, 'evt_'.length + TIME_DIGITS), 16);
}

/** The smallest id of an event at this time. */
export function firstEventId(at: number): string {
  return `evt_${Math.max(0, at).toString(16).padStart(TIME_DIGITS, '0')}`;
}

const MAX_SHOWN_CHARS = 80;

/** Shortens an id from a caller for an error message, and removes characters that are not printable ASCII. */
export function shownId(id: string): string {
  const line = id.slice(0, MAX_SHOWN_CHARS).replaceAll(/[^ -~]/g, '?');
  return id.length > MAX_SHOWN_CHARS ? `${line}…` : line;
}

/** 40 random bits from a UUID: those come from a pool, at a tenth of the cost of randomBytes. */
function tenDigits(): string {
  return crypto.randomUUID().slice(-10);
}
