/** Options by which the command itself reads an input, beside the options of the batch; a resumed run uses those of the earlier one. */
export interface ReadingOptions {
  /** Name of the encoding, as TextDecoder spells it; undefined: UTF-8, or UTF-16 by its mark. */
  encoding?: string;
}

/** The arguments that give these options. */
export function readingArguments(reading: ReadingOptions): string[] {
  return Object.entries(reading).flatMap(([name, value]) => [flagOf(name), String(value)]);
}

/** `text_field` → `--text-field` */
export const flagOf = (option: string): string => `--${option.replaceAll('_', '-')}`;
