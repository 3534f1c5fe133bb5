/**
 * Limits of each route's JSON body, derived from its schema. A schema checks the size of a list only after all its items, so
 * json-scan.ts applies these limits to the text before it is parsed.
 */
import type { Config } from '../../shared/runtime/config.ts';
import { MAX_PARTS } from '../../shared/contract/batches.ts';
import { MAX_THRESHOLDS } from '../../shared/contract/options.ts';

export interface JsonBodyLimits {
  maxBytes: number;
  /** Items of arrays and members of objects on all levels together, and the body itself. */
  maxValues: number;
  /** Most items of an array, by its name in the body. */
  maxItems: ReadonlyMap<string, number>;
}

/** Members of the body and of small objects in it, and room for some unknown ones, so that the answer can name them. */
const SMALL_MEMBERS = 100;
/** A part in the body of `complete`: 96 bytes of JSON, the rest for white space. */
const NAMED_PART_BYTES = 256;

export function bodyLimits(config: Config) {
  const { MAX_BODY_BYTES: maxBytes, MAX_TEXTS_PER_JOB: maxTexts, MAX_METADATA_BYTES } = config;
  return {
    /** A text may be an object with its id (3 values); a value of metadata takes at least a character and a comma. */
    createJob: {
      maxBytes,
      maxValues: 3 * maxTexts + Math.ceil(MAX_METADATA_BYTES / 2) + MAX_THRESHOLDS + SMALL_MEMBERS,
      maxItems: new Map([['texts', maxTexts]]),
    },
    /** A text may be a list of one text (2 values). */
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
    /** A part is an object with its number and checksum (3 values). */
    completeBatch: {
      maxBytes: Math.min(maxBytes, MAX_PARTS * NAMED_PART_BYTES),
      maxValues: 3 * MAX_PARTS + SMALL_MEMBERS,
      maxItems: new Map([['parts', MAX_PARTS]]),
    },
  } satisfies Record<string, JsonBodyLimits>;
}
