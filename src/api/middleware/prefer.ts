/** `Prefer: wait`: how long a request is willing to wait for its result. */
import { AppError } from '../../shared/contract/problems.ts';

/**
 * Seconds of `Prefer: wait=N` (RFC 7240 §4.3); undefined without it. Other preferences are ignored, as the RFC demands.
 * @throws AppError `malformed_header` when wait is not a number of seconds
 */
export function preferredWait(header: string | undefined, maxS: number): number | undefined {
  for (const preference of header?.split(/[,;]/) ?? []) {
    const [name, value] = preference.split('=').map((part) => part.trim());
    if (name?.toLowerCase() !== 'wait') continue;
    if (value === undefined || !/^"?\d+"?$/.test(value)) {
      throw new AppError('malformed_header', `Prefer: wait needs a number of seconds, such as wait=10`);
    }
    return Math.min(Number(value.replaceAll('"', '')), maxS);
  }
  return undefined;
}
