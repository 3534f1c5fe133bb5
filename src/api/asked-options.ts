/** Checks the options of a request against the model that it names. */
import { unfitThreshold, type AnswerOptions, type OptionName } from '../shared/contract/options.ts';
import { AppError } from '../shared/contract/problems.ts';
import { invalidRequest } from './middleware/problems.ts';
import type { KnownModel } from './model-catalog.ts';

/** Workers are updated within minutes. */
const RETRY_S = 5;

/**
 * @param asked the options that workers of an earlier version would drop
 * @throws AppError `worker_outdated`, `invalid_request`
 */
export function requireOptions(
  { apply, threshold }: Pick<AnswerOptions, 'apply' | 'threshold'>,
  asked: readonly OptionName[],
  model: KnownModel,
): void {
  const dropped = asked.filter((option) => model.options?.includes(option) === false);
  if (dropped.length > 0) {
    throw new AppError(
      'worker_outdated',
      `some workers of ${model.name} are of a version that does not know ${dropped.join(' and ')}: update them, or leave it out`,
      { retryAfterS: RETRY_S },
    );
  }
  const message = unfitThreshold({ apply, threshold }, model);
  if (message !== undefined) throw invalidRequest([{ path: 'threshold', message }]);
}
