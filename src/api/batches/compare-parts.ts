/** Compares parts that are stored with those that a request sends or names: by number and SHA-256. */
import type { StoredPart } from '../../shared/contract/batches.ts';
import { AppError } from '../../shared/contract/problems.ts';
import type { CompleteBatchBody } from '../requests.ts';

/** @throws AppError `part_conflict` when the part has another SHA-256 */
export function requireSamePart(part: StoredPart, sha256: string | undefined): StoredPart {
  if (part.sha256 === sha256) return part;
  throw new AppError(
    'part_conflict',
    `part ${part.number} was uploaded before, with different content (sha256 ${part.sha256})`,
  );
}

/** @throws AppError `parts_mismatch`, listing the parts that differ */
export function requireSameParts(wanted: CompleteBatchBody['parts'], parts: readonly StoredPart[]): void {
  const there = new Map(parts.map((part) => [part.number, part]));
  const missing = wanted.filter(({ number }) => !there.has(number)).map(({ number }) => number);
  const different = wanted
    .filter(({ number, sha256: digest }) => {
      const part = there.get(number);
      return part && digest !== undefined && digest.toLowerCase() !== part.sha256;
    })
    .map(({ number }) => number);
  const named = new Set(wanted.map(({ number }) => number));
  const unnamed = parts.filter(({ number }) => !named.has(number)).map(({ number }) => number);
  const faults = [
    ['not uploaded', missing],
    ['uploaded with different content', different],
    ['uploaded but not listed', unnamed],
  ] as const;
  const said = faults.flatMap(([fault, numbers]) =>
    numbers.length === 0
      ? []
      : `${fault}: ${numbers.slice(0, 10).join(', ')}${numbers.length > 10 ? ', …' : ''}`,
  );
  if (said.length > 0) throw new AppError('parts_mismatch', said.join('; '));
}
