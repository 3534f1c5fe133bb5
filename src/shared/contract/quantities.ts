/** Quantities in words, for people at a terminal and at the page. */

/** `309,431` */
export const count = (value: number): string => Math.round(value).toLocaleString('en-US');

/** `1 row`, `309,431 rows` */
export const plural = (value: number, noun: string): string =>
  `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

/** A share from 0 to 1: `40 %`; `under 1 %` rather than 0, and `over 99 %` rather than all. */
export function percent(share: number): string {
  if (share > 0 && share < 0.01) return 'under 1 %';
  if (share < 1 && share > 0.99) return 'over 99 %';
  return `${Math.round(share * 100)} %`;
}
