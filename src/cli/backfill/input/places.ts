/** Finds the file, and the line in it, of a line of joined inputs. */

/** Where the lines of a source begin. */
export interface Place {
  /** Of the source. */
  name: string;
  /** Number of its first line in the joined input. */
  from: number;
  /** Number of the same line in the source: CSV has its header before. */
  first: number;
}

/** `line 12`, or `b.csv, line 3` of joined inputs. @param places in the order of their lines; undefined for a single input */
export function placeOf(line: number, places: readonly Place[] | undefined, wholeFiles = false): string {
  const place = places?.findLast(({ from }) => from <= line);
  if (!place) return `line ${line}`;
  return wholeFiles ? place.name : `${place.name}, line ${line - place.from + place.first}`;
}
