/** Options by which the command itself reads an input, beside the options of the batch; a resumed run uses those of the earlier one. */
import { fileNameOf } from '../remote/addresses.ts';

/** `json`: one array, or JSON Lines. */
export type ConvertedFormat = 'json' | 'parquet';

export interface ReadingOptions {
  /** A format that becomes JSON Lines, unlike those of the server. */
  format?: ConvertedFormat | undefined;
  /** Name of the encoding, as TextDecoder spells it; undefined: UTF-8, or UTF-16 by its mark. */
  encoding?: string;
  /** Read only so many rows, from the first one on. */
  limit?: number;
  /** Read only so many rows, at random. */
  sample?: number;
  /** Pattern for the files of a folder. */
  glob?: string;
  /** Read each file as one document. */
  whole_files?: true;
}

/** The arguments that give these options, except for the format. */
export function readingArguments({ format: _, ...reading }: ReadingOptions): string[] {
  return Object.entries(reading).flatMap(([name, value]) =>
    value === true ? [flagOf(name)] : [flagOf(name), String(value)],
  );
}

/** `text_field` → `--text-field` */
export const flagOf = (option: string): string => `--${option.replaceAll('_', '-')}`;

/** Extensions of the formats that are converted. */
const EXTENSIONS: readonly [RegExp, ConvertedFormat][] = [
  [/\.json(?:\.(?:gz|zst|zstd))?$/i, 'json'],
  [/\.(?:parquet|pq)$/i, 'parquet'],
];

/** The format that the name of a file implies, if it is one of these. */
export function convertedByName(file: string): ConvertedFormat | undefined {
  return EXTENSIONS.find(([pattern]) => pattern.test(fileNameOf(file)))?.[1];
}
