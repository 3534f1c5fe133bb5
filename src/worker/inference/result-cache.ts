/**
 * The exact cache of results: keeps the logits of rows that ran, so that a later row with the same tokens need not run. Jobs and
 * batches share it. A worker serves one revision of one model, so tokens and segment ids are the whole input of a row; labels,
 * top_k and the like are applied to the logits afterwards.
 *
 * Entries lie one behind the other in a ring of memory, and a new one overwrites the oldest. An entry that is found in the older
 * half is written once more, so those that are asked for stay. An index leads from a hash of the input to the entry, which has
 * the input itself: two different rows can never be taken for each other.
 *
 * lru-cache, with strings as keys and values, was tried: full of rows of 26 tokens with three logits, 64 MB of it took 74 MB of live
 * heap and 187 MB of resident memory, because V8 collects evicted entries late, and 3 µs of CPU a row. The ring takes 69 MB and
 * 1.2 µs.
 */
import type { ModelInput } from './tokenizer.ts';

/** Share of the memory that is for the index, and what an entry takes there: a Map has room for twice as many. */
const INDEX_SHARE = 0.25;
const INDEX_BYTES = 56;

/** Words of 32 bits before the input and the logits of an entry: its size in words, the hash, the numbers of tokens and of logits. */
const HEADER = 4;

export class ResultCache {
  readonly #words: Int32Array;
  /** The same memory. */
  readonly #floats: Float32Array;
  /** Positions of entries by hash. The place of a position in the ring is the remainder. */
  readonly #positions = new Map<number, number>();
  readonly #maxEntries: number;
  /** Words written so far, which is the position of the next entry; and the position of the oldest one. */
  #written = 0;
  #oldest = 0;
  /** Rows that were found here. */
  hits = 0;

  /** @param maxBytes memory of entries and index; 0: nothing is kept */
  constructor(maxBytes: number) {
    // The system provides the memory when it is written to.
    this.#words = new Int32Array(Math.floor((maxBytes * (1 - INDEX_SHARE)) / Int32Array.BYTES_PER_ELEMENT));
    this.#floats = new Float32Array(this.#words.buffer);
    this.#maxEntries = Math.floor((maxBytes * INDEX_SHARE) / INDEX_BYTES);
  }

  /** Memory that is in use. */
  get bytes(): number {
    const words = Math.min(this.#written, this.#words.length);
    return words * Int32Array.BYTES_PER_ELEMENT + this.#positions.size * INDEX_BYTES;
  }

  /** The logits of a row that ran. */
  get(input: ModelInput): Float32Array | undefined {
    const hash = hashOf(input);
    const position = this.#positions.get(hash);
    if (position === undefined) return undefined;
    const place = position % this.#words.length;
    if (!this.#hasInput(place, input)) return undefined;
    this.hits++;
    const end = place + this.#word(place);
    const logits = this.#floats.slice(end - this.#word(place + 3), end);
    const isOld = position - this.#oldest < this.#written - position;
    if (isOld && this.#isHalfFull) this.#write(input, logits, hash);
    return logits;
  }

  /** Keeps the logits of rows that ran. A row with a score that is not a number fails, and runs again when it is repeated. */
  keep(inputs: readonly ModelInput[], logits: readonly Float32Array[]): void {
    if (logits.length !== inputs.length) return;
    inputs.forEach((input, i) => {
      const values = logits[i];
      if (values?.every(Number.isFinite)) this.#write(input, values, hashOf(input));
    });
  }

  /** Before that, no entry is about to be overwritten. */
  get #isHalfFull(): boolean {
    return this.#written > this.#words.length / 2 || this.#positions.size > this.#maxEntries / 2;
  }

  #word(place: number): number {
    return this.#words[place] ?? 0;
  }

  #hasInput(place: number, { ids, typeIds }: ModelInput): boolean {
    const size = HEADER + ids.length + (typeIds?.length ?? 0) + this.#word(place + 3);
    if (this.#word(place) !== size || this.#word(place + 2) !== ids.length) return false;
    const start = place + HEADER;
    for (let i = 0; i < ids.length; i++) if (this.#words[start + i] !== ids[i]) return false;
    for (let i = 0; i < (typeIds?.length ?? 0); i++)
      if (this.#words[start + ids.length + i] !== typeIds?.[i]) return false;
    return true;
  }

  #write({ ids, typeIds }: ModelInput, logits: Float32Array, hash: number): void {
    const size = HEADER + ids.length + (typeIds?.length ?? 0) + logits.length;
    const ring = this.#words.length;
    if (size > ring / 2 || this.#maxEntries === 0) return;
    let place = this.#written % ring;
    if (place + size > ring) {
      // An entry is not cut in two: the rest of the ring is skipped.
      const rest = ring - place;
      this.#makeRoom(rest);
      this.#words[place] = -rest;
      this.#written += rest;
      place = 0;
    }
    this.#makeRoom(size);
    this.#words.set([size, hash, ids.length, logits.length], place);
    this.#words.set(ids, place + HEADER);
    if (typeIds) this.#words.set(typeIds, place + HEADER + ids.length);
    this.#floats.set(logits, place + size - logits.length);
    this.#positions.set(hash, this.#written);
    this.#written += size;
  }

  /** Removes the oldest entries until so many words can be written. */
  #makeRoom(words: number): void {
    const ring = this.#words.length;
    while (this.#written + words - this.#oldest > ring || this.#positions.size >= this.#maxEntries) {
      const place = this.#oldest % ring;
      const size = this.#word(place);
      // Not when the input was written again since.
      const hash = this.#word(place + 1);
      if (size > 0 && this.#positions.get(hash) === this.#oldest) this.#positions.delete(hash);
      this.#oldest += Math.abs(size);
    }
  }
}

function hashOf({ ids, typeIds }: ModelInput): number {
  const hash = mix(ids.length, ids);
  return typeIds === undefined ? hash : mix(hash, typeIds);
}

/** Multiplies by the golden ratio of 32 bits (Knuth), and folds the high bits down; the sum keeps zeros from staying zeros. */
function mix(start: number, values: Int32Array): number {
  let hash = start;
  for (const value of values) {
    hash = Math.imul(hash ^ value, 0x9e3779b1) + 0x7f4a7c15;
    hash ^= hash >>> 15;
  }
  return hash;
}

/** Equal for rows with the same tokens and segment ids, and different for all others: their bytes, a character each. */
export function keyOf({ ids, typeIds }: ModelInput): string {
  // Without segment ids the length is a multiple of 4.
  return typeIds === undefined ? latin1(ids) : `${latin1(ids)}+${latin1(typeIds)}`;
}

function latin1({ buffer, byteOffset, byteLength }: Int32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1');
}
