/** Figures: what a scenario measured, as rows of its table. */

/** Name of the figure, with its unit → value. */
export type Figures = Record<string, number | string>;

/** The same figures, each name with a prefix. */
export const prefixed = (name: string, figures: Figures): Figures =>
  Object.fromEntries(Object.entries(figures).map(([what, value]) => [`${name}: ${what}`, value]));
