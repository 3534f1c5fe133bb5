/** What Unigram knows of a piece while it looks for the tokens with the highest sum of scores. */
import type { Trie } from './trie.ts';

/** The best path to each position in a piece: the sum of its scores, and start and id of its last token. */
export class Paths {
  /** UTF-16 units of the piece. */
  length = 0;
  readonly units: Uint16Array;
  /** Their codes in the trie. */
  readonly codes: Uint16Array;
  readonly best: Float64Array;
  /** −1 where no token ends. */
  readonly startOf: Int32Array;
  readonly idOf: Int32Array;
  /** Paths are extended from all positions before this one. */
  reached = 0;
  /** Ids are collected up to this position. */
  collected = 0;

  /** @param capacity UTF-16 units of the longest piece */
  constructor(capacity: number) {
    this.units = new Uint16Array(capacity);
    this.codes = new Uint16Array(capacity + 1);
    this.best = new Float64Array(capacity + 1);
    this.startOf = new Int32Array(capacity + 1);
    this.idOf = new Int32Array(capacity + 1);
  }

  /** Begins with an empty piece. */
  reset(): void {
    this.length = this.reached = this.collected = 0;
  }

  /** Adds a UTF-16 unit to the piece. */
  add(unit: number, trie: Trie): void {
    const at = this.length++;
    this.units[at] = unit;
    this.codes[at] = trie.codeOf(unit);
    this.startOf[at + 1] = -1;
  }

  /** Begins with this piece. */
  start(piece: string, trie: Trie): void {
    this.reset();
    for (let i = 0; i < piece.length; i++) this.add(piece.charCodeAt(i), trie);
  }

  /** A part of the piece. */
  text(start: number, end: number): string {
    return Buffer.from(this.units.buffer, start * 2, (end - start) * 2).toString('utf16le');
  }
}
