/** The model catalog: how long its copy of the registry is used. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ModelCatalog } from '../../src/api/model-catalog.ts';
import type { KnownModel, ModelRegistry } from '../../src/shared/store/models.ts';

let served: string[];
let reads: number;
let catalog: ModelCatalog;

beforeEach(() => {
  vi.useFakeTimers();
  served = ['usual'];
  reads = 0;
  const registry: Pick<ModelRegistry, 'list'> = {
    list: () => {
      reads++;
      return Promise.resolve(served.map((name) => ({ name, workers: 1 }) as KnownModel));
    },
  };
  catalog = new ModelCatalog(registry as ModelRegistry, 'usual');
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a model', () => {
  test('that is known is not read again within a second', async () => {
    for (let i = 0; i < 9; i++) {
      await catalog.resolve('usual');
      vi.advanceTimersByTime(100);
    }
    expect(reads).toBe(1);
    vi.advanceTimersByTime(100);
    await catalog.resolve(undefined);
    expect(reads).toBe(2);
  });

  test('whose first worker has just started is found, though the copy is younger than a second', async () => {
    await catalog.resolve('usual');
    vi.advanceTimersByTime(200);
    served.push('new');
    expect(await catalog.resolve('new')).toMatchObject({ name: 'new', workers: 1 });
  });

  test('that does not exist costs Redis at most ten reads a second', async () => {
    for (let i = 0; i < 100; i++) {
      await expect(catalog.resolve('none')).rejects.toMatchObject({ code: 'model_not_found' });
      vi.advanceTimersByTime(10);
    }
    expect(reads).toBeLessThanOrEqual(11);
  });

  test('that is the default may have had no worker yet', async () => {
    served = [];
    expect(await catalog.resolve(undefined)).toEqual({ name: 'usual', workers: 0 });
    expect(reads).toBe(1);
  });
});
