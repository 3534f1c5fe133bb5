/**
 * The exact cache of results: keeps the logits of rows that ran, so that a later row with the same tokens need not run. Jobs and
 * batches share it. A worker serves one revision of one model, so tokens and segment ids are the whole input of a row; labels,
 * top_k and the like are applied to the logits afterwards.
 *
 * Entries lie one behind the other in a ring of memory, and a new one overwrites the oldest. An entry that is found in the older
 * half of the ring is written once more, so those that are asked for stay. An index leads from a hash of the input to the
 * entry, which has the input itself: two different rows can never be taken for each other. All memory is typed arrays of fixed
 * size, so the garbage collector has nothing to do with it.
 *
 * lru-cache, with strings as keys and values, was tried: full of rows of 26 tokens with three logits, 64 MB of it took 74 MB of live
 * heap and 187 MB of resident memory, because V8 collects evicted entries late, and 3 µs of CPU a row; with a Map as the index the
 * ring took 69 MB and 1.2 µs. This takes no more than its bytes, and 1.0 µs. With all slots in use, 2 % of the entries are lost early.
 */
import type { ModelInput } from './tokenizer.ts';

/** Most of the memory that is for the index: it then has twice as many slots as entries of 26 tokens fit. */
const INDEX_SHARE = 1 / 6;

/** Slots that a hash may be in. A new entry takes the slot of the oldest one. */
const WAYS = 4;

/** Words of 32 bits before the input and the logits of an entry: its size in words, and the numbers of tokens and of logits. */
const HEADER = 3;

export class ResultCache {
  readonly #words: Int32Array;
  /** The same memory. */
  readonly #floats: Float32Array;
  /** Positions of entries, plus 1; 0: none. The place of a position in the ring is the remainder. */
  readonly #slots: Float64Array;
  /** Words written so far, which is the position of the next entry. */
  #written = 0;
  /** Rows that were found here. */
  hits = 0;

  /** @param maxBytes memory of entries and index; 0: nothing is kept */
  constructor(maxBytes: number) {
    const most = (maxBytes * INDEX_SHARE) / Float64Array.BYTES_PER_ELEMENT;
    // The system provides the memory when it is written to.
    this.#slots = new Float64Array(most < WAYS ? 0 : 2 ** Math.floor(Math.log2(most)));
    const left = this.#slots.length === 0 ? 0 : maxBytes - this.#slots.byteLength;
    this.#words = new Int32Array(Math.floor(left / Int32Array.BYTES_PER_ELEMENT));
    this.#floats = new Float32Array(this.#words.buffer);
  }

  /** Memory that is in use. */
  get bytes(): number {
    if (this.#written === 0) return 0;
    const words = Math.min(this.#written, this.#words.length);
    return words * Int32Array.BYTES_PER_ELEMENT + this.#slots.byteLength;
  }

  /** The logits of a row that ran. */
  get(input: ModelInput): Float32Array | undefined {
    const hash = hashOf(input);
    const slot = this.#find(input, hash);
    if (slot === undefined) return undefined;
    this.hits++;
    const position = this.#at(slot);
    const place = position % this.#words.length;
    const end = place + this.#word(place);
    const logits = this.#floats.slice(end - this.#word(place + 2), end);
    if (this.#written - position > this.#words.length / 2) this.#write(input, logits, hash);
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

  #word(place: number): number {
    return this.#words[place] ?? 0;
  }

  /** Position of the entry in a slot; negative without one. */
  #at(slot: number): number {
    return (this.#slots[slot] ?? 0) - 1;
  }

  /** The first slot for a hash. */
  #firstSlot(hash: number): number {
    return (hash & (this.#slots.length / WAYS - 1)) * WAYS;
  }

  /** The slot of the entry of an input. */
  #find(input: ModelInput, hash: number): number | undefined {
    if (this.#written === 0) return undefined;
    const first = this.#firstSlot(hash);
    const overwritten = Math.max(0, this.#written - this.#words.length);
    for (let slot = first; slot < first + WAYS; slot++) {
      const position = this.#at(slot);
      if (position >= overwritten && this.#hasInput(position % this.#words.length, input)) return slot;
    }
    return undefined;
  }

  #hasInput(place: number, { ids, typeIds }: ModelInput): boolean {
    const types = typeIds?.length ?? 0;
    const size = HEADER + ids.length + types + this.#word(place + 2);
    if (this.#word(place) !== size || this.#word(place + 1) !== ids.length) return false;
    const start = place + HEADER;
    for (let i = 0; i < ids.length; i++) if (this.#words[start + i] !== ids[i]) return false;
    for (let i = 0; i < types; i++) if (this.#words[start + ids.length + i] !== typeIds?.[i]) return false;
    return true;
  }

  #write(input: ModelInput, logits: Float32Array, hash: number): void {
    const { ids, typeIds } = input;
    const size = HEADER + ids.length + (typeIds?.length ?? 0) + logits.length;
    const ring = this.#words.length;
    if (size > ring / 2) return;
    const slot = this.#find(input, hash) ?? this.#oldestSlot(hash);
    let place = this.#written % ring;
    if (place + size > ring) {
      // An entry is not cut in two: the rest of the ring is skipped.
      this.#written += ring - place;
      place = 0;
    }
    this.#words[place] = size;
    this.#words[place + 1] = ids.length;
    this.#words[place + 2] = logits.length;
    this.#words.set(ids, place + HEADER);
    if (typeIds) this.#words.set(typeIds, place + HEADER + ids.length);
    this.#floats.set(logits, place + size - logits.length);
    this.#slots[slot] = this.#written + 1;
    this.#written += size;
  }

  #oldestSlot(hash: number): number {
    const first = this.#firstSlot(hash);
    let oldest = first;
    for (let slot = first + 1; slot < first + WAYS; slot++)
      if (this.#at(slot) < this.#at(oldest)) oldest = slot;
    return oldest;
  }
}

/** MurmurHash3 of 32 bits: a multiplication for each value, and the high bits folded down at the end. */
function hashOf({ ids, typeIds }: ModelInput): number {
  let hash = mix(ids.length, ids);
  if (typeIds) hash = mix(hash, typeIds);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

function mix(start: number, values: Int32Array): number {
  let hash = start;
  for (const value of values) {
    const scattered = Math.imul(value, 0xcc9e2d51);
    hash ^= Math.imul((scattered << 15) | (scattered >>> 17), 0x1b873593);
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
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
