/**
 * Options of an answer: what a request may ask about the labels of its texts. Jobs and batches keep them in one shape, and a
 * worker applies them in one place, inference/answer.ts.
 */
import { shorten, tooManyChars } from './text.ts';

/** Function from logits to scores; unset: the model's own. */
export const applyFunctions = ['softmax', 'sigmoid', 'none'] as const;
export type ApplyFunction = (typeof applyFunctions)[number];

/** The least score of a label that is chosen: one for all, one for each label that may be chosen, or those of the model. */
export type Threshold = number | 'model' | Readonly<Record<string, number>>;

/** Most labels that a threshold names. */
export const MAX_THRESHOLDS = 256;
export const NO_THRESHOLD =
  'must be a number, "model", or an object with a number for each label that may be chosen';
/** Longest name of a label in a threshold. */
export const MAX_LABEL_CHARS = 200;

/** The options as a job and a batch keep them; option-schemas.ts has their schemas. */
export interface AnswerOptions {
  /** null: all labels, or all that reach the threshold. */
  top_k: number | null;
  apply?: ApplyFunction | undefined;
  threshold?: Threshold | undefined;
}

/** `top_k` of a request: the best label, or with a threshold all that reach it. */
export const topKOf = (asked: number | null | undefined, threshold: Threshold | undefined): number | null =>
  asked === undefined ? (threshold === undefined ? 1 : null) : asked;

/** @returns what is wrong with a threshold, whatever the model, and at which label */
export function thresholdProblem(value: unknown): string | { path: string[]; message: string } | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : 'must be a finite number';
  if (value === 'model') return undefined;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return NO_THRESHOLD;
  const entries = Object.entries(value);
  if (entries.length === 0) return 'must name at least one label';
  if (entries.length > MAX_THRESHOLDS) return `must name at most ${MAX_THRESHOLDS} labels`;
  for (const [label, least] of entries) {
    if (tooManyChars(label, MAX_LABEL_CHARS) !== undefined)
      return { path: [label], message: `is a name of more than ${MAX_LABEL_CHARS} characters` };
    if (typeof least !== 'number' || !Number.isFinite(least))
      return { path: [label], message: 'must be a finite number' };
  }
  return undefined;
}

/** The threshold in a query or an argument. A text that is no JSON stays one, for thresholdProblem() to refuse. */
export function parsedThreshold(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What a model says about its answers; what is missing is not known. */
export interface AnsweringModel {
  labels?: readonly string[] | undefined;
  /** The function that its scores have when a request does not say. */
  function_to_apply?: ApplyFunction | undefined;
  thresholds?: Readonly<Record<string, number>> | null | undefined;
}

/** Real labels that an error about a wrong one shows. */
const SHOWN_LABELS = 5;
const SHOWN_CHARS = 40;

/**
 * @param model without labels while no worker has served it. Its worker checks again, because the next revision may have other labels
 * @returns why the model cannot do what the threshold asks
 */
export function unfitThreshold(
  { apply, threshold }: Pick<AnswerOptions, 'apply' | 'threshold'>,
  model: AnsweringModel,
): string | undefined {
  const { labels, function_to_apply: own } = model;
  if (threshold === undefined || labels === undefined) return undefined;
  if (threshold === 'model') {
    if (!model.thresholds)
      return "asks for the model's own thresholds, but it has none (thresholds in its amulet.json): give a number, or numbers by label";
    if (apply === undefined || apply === own) return undefined;
    return `is "model", whose thresholds are for the scores of ${own}: leave out function_to_apply, or give numbers`;
  }
  const asked = apply ?? own;
  const values = typeof threshold === 'number' ? [threshold] : Object.values(threshold);
  const outside = values.find((value) => value < 0 || value > 1);
  if (outside !== undefined && asked !== undefined && asked !== 'none')
    return `has ${outside}, which is not within 0 and 1, as the scores of ${asked} are`;
  if (typeof threshold === 'number') return undefined;
  const known = new Set(labels);
  const unknown = Object.keys(threshold).find((label) => !known.has(label));
  if (unknown === undefined) return undefined;
  const some = labels.slice(0, SHOWN_LABELS).map((label) => shorten(label, SHOWN_CHARS));
  const all = labels.length > SHOWN_LABELS ? `${some.join(', ')}, … (${labels.length})` : some.join(', ');
  return `names ${JSON.stringify(shorten(unknown, SHOWN_CHARS))}, which is no label of the model; it has ${all}`;
}

/**
 * Options by the generation of workers that first understood them. A worker announces its generation (store/models.ts), because one
 * of an earlier version drops options that it does not know, and would answer without them.
 */
const GENERATIONS = [['top_k'], ['function_to_apply', 'threshold']] as const;
export type OptionName = (typeof GENERATIONS)[number][number];
/** The generation of this version. */
export const OPTIONS_GENERATION = GENERATIONS.length - 1;

/** The options that workers of a generation understand, and of those before it. */
export const optionsOfGeneration = (generation: number): OptionName[] =>
  GENERATIONS.slice(0, generation + 1).flat();
