/**
 * Limits the scores that a request may ask for. A score takes about 50 bytes of results: a model with 10,000 labels answers a text
 * of one word with half a megabyte, and a job of 256 texts with 100 MB, in the memory of worker, Redis and API.
 */

export interface ScoreRequest {
  texts: number;
  /** null: all labels. */
  topK: number | null;
  /** Number of labels of the model. */
  labels: number;
}

export function scoresOf({ texts, topK, labels }: ScoreRequest): number {
  return texts * Math.min(topK ?? labels, labels);
}

/** @returns undefined within the limit; else the error with numbers and remedies */
export function tooManyScores(request: ScoreRequest, limit: number): string | undefined {
  const scores = scoresOf(request);
  if (scores <= limit) return undefined;
  const { texts } = request;
  const each = scores / texts;
  const [fewerTexts, fewerLabels] = [Math.floor(limit / each), Math.floor(limit / texts)];
  const remedies = [
    ...(fewerTexts > 0 ? [`send at most ${fewerTexts} texts at a time`] : []),
    ...(fewerLabels > 0 ? [`ask for a top_k of at most ${fewerLabels}`] : []),
    'make it a batch',
  ];
  const asked = `${texts} ${texts === 1 ? 'text' : 'texts'} with ${each} labels each`;
  return `${asked} make ${scores} scores, and a job may have ${limit} (MAX_SCORES_PER_JOB): ${remedies.join(', or ')}`;
}
