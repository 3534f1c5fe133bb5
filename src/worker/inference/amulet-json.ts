/**
 * Reads `amulet.json`: settings of a model folder that only Amulet has, beside the files that Transformers reads. The file and
 * each setting are optional.
 */
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import type { ApplyFunction } from '../../shared/contract/options.ts';
import { StartupError } from '../../shared/runtime/startup-error.ts';
import { toError } from '../../shared/runtime/to-error.ts';

export const AMULET_JSON = 'amulet.json';

/** Far more than its settings need. */
const MAX_BYTES = 1024 * 1024;

/** More than any classifier has been trained on. */
const MAX_LANGUAGES = 256;

const languageSchema = z
  .string()
  .regex(/^[a-z]{2,3}$/, 'must be a language code of two or three small letters, such as "en"');

const amuletJsonSchema = z.strictObject({
  /** The result of a text that the model cannot read: an error, or labels all the same. */
  unreadable_text: z.enum(['error', 'classify']).default('error'),
  /** Languages that the model was trained to read, as primary subtags of BCP 47. */
  languages: z
    .array(languageSchema)
    .min(1, 'must name at least one language, or be left out')
    .max(MAX_LANGUAGES, `must name at most ${MAX_LANGUAGES} languages`)
    .refine((all) => new Set(all).size === all.length, 'must name each language once')
    .optional(),
  /** What the model was made for. */
  task: z.enum(['text-classification', 'zero-shot-classification', 'text-ranking']).optional(),
  /** Logits are divided by it before softmax or sigmoid. */
  temperature: z.number().min(0.01).max(100).optional(),
  /** The least score at which a label is chosen, for every label; checked by requireFit(). */
  thresholds: z.record(z.string(), z.number()).optional(),
});
export type AmuletJson = z.output<typeof amuletJsonSchema>;

/**
 * @param folder the model folder
 * @returns its settings; the defaults when it has no such file
 * @throws StartupError that names the file and the settings which are wrong
 */
export function readAmuletJson(folder: string): AmuletJson {
  const file = path.join(folder, AMULET_JSON);
  try {
    const found = statSync(file, { throwIfNoEntry: false });
    if (!found) return amuletJsonSchema.parse({});
    if (!found.isFile()) throw new Error('it is not a regular file');
    if (found.size > MAX_BYTES)
      throw new Error(`it has ${found.size} bytes; at most ${MAX_BYTES} are allowed`);
    const parsed = amuletJsonSchema.safeParse(parseJson(readFileSync(file, 'utf8')));
    if (!parsed.success) throw new Error(parsed.error.issues.map(describeIssue).join('; '));
    return parsed.data;
  } catch (error) {
    throw new StartupError(`${file} cannot be used: ${toError(error).message}`, { cause: error });
  }
}

/**
 * Checks the settings that depend on the model's labels and its function.
 * @throws StartupError that names the file, and the label that is missing, unknown, or has a threshold that no score reaches
 */
export function requireFit(
  folder: string,
  { temperature, thresholds }: AmuletJson,
  { labels, apply }: { labels: readonly string[]; apply: ApplyFunction },
): void {
  const refuse = (problem: string) =>
    new StartupError(`${path.join(folder, AMULET_JSON)} cannot be used: ${problem}`);
  if (temperature !== undefined && apply === 'none')
    throw refuse('temperature is for softmax or sigmoid, but the model is a regression');
  if (thresholds === undefined) return;
  const known = new Set(labels);
  for (const [label, least] of Object.entries(thresholds)) {
    if (!known.has(label))
      throw refuse(`thresholds name ${JSON.stringify(label)}, which is no label of the model`);
    if (apply !== 'none' && (least < 0 || least > 1))
      throw refuse(`thresholds have ${least} for ${JSON.stringify(label)}, which is not within 0 and 1`);
  }
  const missing = labels.find((label) => !Object.hasOwn(thresholds, label));
  if (missing !== undefined) throw refuse(`thresholds have none for the label ${JSON.stringify(missing)}`);
}

/** Skips a byte order mark, which editors on Windows add. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ''));
  } catch (error) {
    throw new Error(`it is not valid JSON: ${toError(error).message}`, { cause: error });
  }
}

function describeIssue(issue: z.core.$ZodIssue): string {
  const at = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const known = Object.keys(amuletJsonSchema.shape).join(', ');
    return `${issue.keys.map((key) => JSON.stringify(key)).join(', ')} is not a setting; known: ${known}`;
  }
  if (issue.code === 'invalid_value') return `${at} must be one of ${issue.values.map(String).join(', ')}`;
  return at === '' ? 'it must be a JSON object' : `${at}: ${issue.message}`;
}
