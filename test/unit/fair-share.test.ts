/** FairShare: the limit of all requests together, and the share of one owner. */
import { describe, expect, test } from 'vitest';
import { FairShare } from '../../src/api/load/fair-share.ts';
import { AppError } from '../../src/shared/contract/problems.ts';
import { EVERYBODY } from '../../src/shared/contract/owner.ts';

const full = () => new AppError('bodies_full', 'full', { retryAfterS: 1 });

/** The amount that an owner gets in steps of `piece` until it is refused. */
function takeAll(share: FairShare, owner: string, piece = 1): number {
  const lease = share.acquire(owner);
  for (let taken = 0; ; taken += piece) {
    try {
      lease.add(piece);
    } catch (error) {
      expect(error).toBeInstanceOf(AppError);
      return taken;
    }
  }
}

describe('a fair share', () => {
  test('is half for a single owner, and leaves something for each later owner', () => {
    const share = new FairShare(100, full);
    expect(takeAll(share, 'a')).toBe(50);
    expect(takeAll(share, 'a')).toBe(0);
    expect(takeAll(share, 'b')).toBe(25);
    expect(takeAll(share, 'c')).toBe(13);
    expect(takeAll(share, 'd')).toBeGreaterThan(0);
    expect(share.total).toBeLessThan(100);
  });

  test('of an owner is the same however many requests it is spread over', () => {
    const share = new FairShare(100, full);
    let refused = 0;
    for (let request = 0; request < 100; request++) {
      try {
        share.acquire('a', 1);
      } catch {
        refused++;
      }
    }
    expect([share.total, refused]).toEqual([50, 50]);
  });

  test('is the whole limit without API keys, and no more', () => {
    const share = new FairShare(100, full);
    expect(takeAll(share, EVERYBODY)).toBe(100);
    expect(() => share.acquire(EVERYBODY, 1)).toThrow(AppError);
  });

  test('of a limit of one goes to the first owner', () => {
    const share = new FairShare(1, full);
    const lease = share.acquire('a', 1);
    expect(() => share.acquire('b', 1)).toThrow(AppError);
    lease.release();
    share.acquire('b', 1);
  });

  test('is whole again after every release, which counts once', () => {
    const share = new FairShare(100, full);
    const [a, b] = [share.acquire('a', 30), share.acquire('b', 30)];
    a.release();
    a.release();
    expect(share.total).toBe(30);
    expect(() => share.acquire('b', 50)).toThrow(AppError);
    b.release();
    expect(share.total).toBe(0);
    expect(takeAll(share, 'b', 10)).toBe(50);
  });
});
