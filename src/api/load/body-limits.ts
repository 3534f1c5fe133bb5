/**
 * The JSON that each call can need, from what its schema can hold. A schema checks the size of a list after all its items, so
 * these limits are applied to the text before anything is made of it.
 */
import type { Config } from '../../shared/runtime/config.ts';
import { MAX_PARTS } from '../../shared/contract/batches.ts';

export interface JsonBodyLimits {
  maxBytes: number;
  /** Items of arrays and members of objects, on all levels together, and the body itself. */
  maxValues: number;
  /** Items of an array, by its name in the body. */
  maxItems: ReadonlyMap<string, number>;
}

/** Members of the body and of small objects in it, and as many that no schema knows: those few are to be named in the answer. */
const SMALL_MEMBERS = 100;
/** A part in the body of `complete`: 96 bytes of JSON, and more than as much again for white space. */
const NAMED_PART_BYTES = 256;

export function bodyLimits(config: Config) {
  const { MAX_BODY_BYTES: maxBytes, MAX_TEXTS_PER_JOB: maxTexts, MAX_METADATA_BYTES } = config;
  return {
    /** A text is an object with its id; a value of metadata has at least a character and a comma. */
    createJob: {
      maxBytes,
      maxValues: 3 * maxTexts + Math.ceil(MAX_METADATA_BYTES / 2) + SMALL_MEMBERS,
      maxItems: new Map([['texts', maxTexts]]),
    },
    /** A text is a list of one. */
    predict: {
      maxBytes,
      maxValues: 2 * maxTexts + SMALL_MEMBERS,
      maxItems: new Map([['inputs', maxTexts]]),
    },
    hfClassify: {
      maxBytes,
      maxValues: maxTexts + SMALL_MEMBERS,
      maxItems: new Map([['inputs', maxTexts]]),
    },
    /** A part is an object with its number and checksum. */
    completeBatch: {
      maxBytes: Math.min(maxBytes, MAX_PARTS * NAMED_PART_BYTES),
      maxValues: 3 * MAX_PARTS + SMALL_MEMBERS,
      maxItems: new Map([['parts', MAX_PARTS]]),
    },
  } satisfies Record<string, JsonBodyLimits>;
}
