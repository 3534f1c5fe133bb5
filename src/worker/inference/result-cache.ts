/**
 * The exact cache of results: keeps the logits of rows that ran, so that a later row with the same tokens need not run. Jobs and
 * batches share it. A worker serves one revision of one model, so tokens and segment ids are the whole input of a row; labels,
 * top_k and the like are applied to the logits afterwards.
 *
 * Keys are the bytes of the input itself, not a hash of them: two different rows can never be taken for each other.
 */
import { LRUCache } from 'lru-cache';
import type { ModelInput } from './tokenizer.ts';

/** Memory of an entry beside key and logits: two strings, and its share of a Map and of six arrays. Measured: 122 bytes. */
const ENTRY_BYTES = 128;

/** A row with its key, as `keyOf` makes it; undefined: it is not to be kept. */
interface KeyedRow {
  readonly key?: string | undefined;
}

export class ResultCache {
  /** Logits as the bytes of their floats, a byte a character: half the memory of a typed array with three of them. */
  readonly #logits: LRUCache<string, string> | undefined;
  /** Rows that were found here. */
  hits = 0;

  /** @param maxBytes memory of all entries; 0: nothing is kept */
  constructor(maxBytes: number) {
    if (maxBytes === 0) return;
    this.#logits = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (logits, key) => key.length + logits.length + ENTRY_BYTES,
    });
  }

  /** Memory of the entries. */
  get bytes(): number {
    return this.#logits?.calculatedSize ?? 0;
  }

  /** The logits of a row that ran. */
  get(key: string): Float32Array | undefined {
    const bytes = this.#logits?.get(key);
    if (bytes === undefined) return undefined;
    this.hits++;
    const logits = new Float32Array(bytes.length / Float32Array.BYTES_PER_ELEMENT);
    Buffer.from(logits.buffer).write(bytes, 'latin1');
    return logits;
  }

  /** Keeps the logits of rows that ran. A row with a score that is not a number fails, and runs again when it is repeated. */
  keep(rows: readonly KeyedRow[], logits: readonly Float32Array[]): void {
    if (logits.length !== rows.length) return;
    rows.forEach(({ key }, i) => {
      const values = logits[i];
      if (key === undefined || !values?.every(Number.isFinite)) return;
      this.#logits?.set(key, latin1(values));
    });
  }
}

/** Equal for rows with the same tokens and segment ids, and different for all others. */
export function keyOf({ ids, typeIds }: ModelInput): string {
  // Without segment ids the length is a multiple of 4.
  return typeIds === undefined ? latin1(ids) : `${latin1(ids)}+${latin1(typeIds)}`;
}

/** The bytes of a typed array, a byte a character. */
function latin1({ buffer, byteOffset, byteLength }: Int32Array | Float32Array): string {
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1');
}
