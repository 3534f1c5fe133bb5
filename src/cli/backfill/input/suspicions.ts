/**
 * Says what looks wrong about the first rows of an input, though each of them can be read: a column of numbers, one text over and over,
 * binary data. Only hints: such an input may be meant.
 */
import type { BatchOptions } from '../../../client/batches.ts';
import { fieldsOf } from '../../../shared/bulk/sniff-fields.ts';
import { shorten } from '../../../shared/contract/text.ts';
import { count, plural, shellWord } from '../../terminal/units.ts';
import type { Beginning } from './beginning.ts';
import type { FirstRows } from './first-rows.ts';
import { flagOf } from './reading.ts';
import { specOf } from './records.ts';

/** Fewer rows say too little. */
const FEW_ROWS = 5;
/** A text may occur so often by chance, such as "thanks". */
const FEW_REPEATS = 20;
/** Share of the rows from which on something is said. */
const MOST = 0.9;
const HALF = 0.5;
const SHOWN_CHARS = 40;

const NUMBER = /^[\s\d.,:/%+\-()]*\d[\s\d.,:/%+\-()]*$/;
const BASE64 = /^(?:data:[\w/+.-]+;base64,)?[A-Za-z0-9+/_-]{200,}={0,2}$/;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/;

/** @returns a sentence each, with the option that helps */
export function suspicions(
  { rows }: FirstRows,
  { head }: Pick<Beginning, 'head'>,
  options: BatchOptions,
): string[] {
  const texts = rows.flatMap((row) => ('text' in row ? [row.text] : []));
  const errors = rows.flatMap((row) => ('error' in row ? [row] : []));
  const first = `the first ${plural(rows.length, 'row')}`;
  const found: string[] = [];
  const [error] = errors;
  if (error && rows.length >= FEW_ROWS && errors.length >= HALF * rows.length)
    found.push(`${count(errors.length)} of ${first} are errors; line ${error.line}: ${error.error.message}`);
  if (texts.length < FEW_ROWS) return found;
  const share = (is: (text: string) => boolean) => texts.filter(is).length / texts.length;
  const other = fieldsOf(head.toString(), specOf(options))?.likely;
  const advice =
    other === undefined || other === (options.text_field ?? 'text')
      ? ''
      : `; is it ${flagOf('text_field')} ${shellWord(other)}?`;
  if (share((text) => NUMBER.test(text)) >= MOST)
    found.push(`the texts of ${first} are numbers, such as ${quoted(texts[0])}${advice}`);
  else if (share((text) => BASE64.test(text)) >= MOST)
    found.push(`the texts of ${first} look like base64${advice}`);
  else if (share((text) => CONTROL.test(text)) >= HALF)
    found.push(`the texts of ${first} look like binary data: they have control characters${advice}`);
  const [text, times] = mostFrequent(texts);
  if (times >= FEW_REPEATS && times >= HALF * texts.length)
    found.push(`${count(times)} of ${first} have the same text, ${quoted(text)}${advice}`);
  return found;
}

const quoted = (text = ''): string => `"${shorten(text, SHOWN_CHARS)}"`;

function mostFrequent(texts: readonly string[]): [string, number] {
  const times = new Map<string, number>();
  let most: [string, number] = ['', 0];
  for (const text of texts) {
    const now = (times.get(text) ?? 0) + 1;
    times.set(text, now);
    if (now > most[1]) most = [text, now];
  }
  return most;
}
