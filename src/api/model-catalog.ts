/** The models that a request may name: a copy of the registry in Redis, kept for a second. */
import { AppError } from '../shared/contract/problems.ts';
import { shownId } from '../shared/contract/ids.ts';
import type { Model } from '../shared/contract/models.ts';
import { CachedFor } from './cached-for.ts';
import type { ModelRegistry } from '../shared/store/models.ts';

/** Long enough to spare Redis, short enough to show at once that a worker has come or gone. */
const FRESH_MS = 1000;
/** For a model that the copy lacks: its first worker may just have started, and other instances may know it already. */
const MISSING_FRESH_MS = 100;

/** A model; without labels while no worker has served it yet. */
export type KnownModel = Pick<
  Model,
  'name' | 'workers' | 'chunk_bytes' | 'options' | 'function_to_apply' | 'thresholds'
> &
  Partial<Pick<Model, 'labels'>>;

export class ModelCatalog {
  readonly #registry: ModelRegistry;
  readonly #defaultModel: string;
  readonly #models: CachedFor<Model[]>;
  /** The names of the live workers of each model, as old as the models. */
  #workerIds = new Map<string, readonly string[]>();

  constructor(registry: ModelRegistry, defaultModel: string) {
    this.#registry = registry;
    this.#defaultModel = defaultModel;
    this.#models = new CachedFor(FRESH_MS, () => this.#read());
  }

  /** Every model that a worker ever served, as Redis has it now. */
  list(): Promise<Model[]> {
    return this.#models.refresh();
  }

  /**
   * The model that a request names. The default model may be named before its first worker has ever started.
   * @param name undefined: the default model
   * @throws AppError `model_not_found`, which lists the known models
   */
  async resolve(name: string | undefined): Promise<KnownModel> {
    const wanted = name ?? this.#defaultModel;
    const named = (model: Model) => model.name === wanted;
    const models = await this.#models.get();
    const found = models.find(named);
    if (found) return found;
    if (wanted === this.#defaultModel) return { name: wanted, workers: 0 };
    const late = (await this.#models.get(MISSING_FRESH_MS)).find(named);
    if (late) return late;
    const known = [...new Set([this.#defaultModel, ...models.map((model) => model.name)])].sort();
    throw new AppError(
      'model_not_found',
      `there is no model ${shownId(wanted)}; known: ${known.join(', ')}`,
      {
        extra: { models: known },
      },
    );
  }

  /** Forgets a model: see ModelRegistry.remove(). */
  async remove(name: string): Promise<void> {
    await this.#registry.remove(name);
    this.#models.expire();
  }

  /** Error detail for a model without workers: which models have some. */
  async noWorkerFor(name: string): Promise<string> {
    const served = (await this.#models.get()).filter(({ workers }) => workers > 0).map((model) => model.name);
    const others =
      served.length === 0
        ? 'no worker is running at all: start one (`npm start`, or `npm run start:worker`)'
        : `served: ${served.join(', ')}`;
    return `no worker serves ${name} at the moment; ${others}`;
  }

  /** How many live workers serve a model. */
  async workersOf(name: string): Promise<number> {
    const models = await this.#models.get();
    return models.find((model) => model.name === name)?.workers ?? 0;
  }

  /** The names of the live workers of a model. */
  async workerIds(name: string): Promise<readonly string[]> {
    await this.#models.get();
    return this.#workerIds.get(name) ?? [];
  }

  async #read(): Promise<Model[]> {
    const models = await this.#registry.list();
    this.#workerIds = new Map(models.map(({ name, workerIds }) => [name, workerIds]));
    // Callers see how many workers there are, not their names.
    return models.map(({ workerIds: _, ...model }) => ({
      ...model,
      languages: model.languages ?? null,
      default: model.name === this.#defaultModel,
    }));
  }
}
