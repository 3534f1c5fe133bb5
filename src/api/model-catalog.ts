/** The models a request may name. A short-lived copy of the registry, so that not every request asks Redis. */
import { AppError } from '../shared/contract/problems.ts';
import { shownId } from '../shared/contract/ids.ts';
import type { Model } from '../shared/contract/models.ts';
import type { ModelRegistry } from '../shared/store/models.ts';

/** Old enough to spare Redis, young enough that a worker's coming and going is seen at once. */
const FRESH_MS = 1000;
/** Of a model that is not in the copy: its first worker may just have started, and other instances may know it already. */
const MISSING_FRESH_MS = 100;

/** What is known of a model: without labels, that no worker has served it yet. */
export type KnownModel = Pick<Model, 'name' | 'workers' | 'chunk_bytes'> & Partial<Pick<Model, 'labels'>>;

export class ModelCatalog {
  readonly #registry: ModelRegistry;
  readonly #defaultModel: string;
  #models: Model[] = [];
  #readAt = -Infinity;
  #reading: Promise<Model[]> | undefined;

  constructor(registry: ModelRegistry, defaultModel: string) {
    this.#registry = registry;
    this.#defaultModel = defaultModel;
  }

  /** All known models, those that a worker ever served, as Redis has them now. */
  list(): Promise<Model[]> {
    // Requests that come while one is reading share its answer.
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  /**
   * The model that a request means. The default one may be named before its first worker ever started.
   * @param name undefined = the default model
   * @throws AppError `model_not_found`, naming the known ones
   */
  async resolve(name: string | undefined): Promise<KnownModel> {
    const wanted = name ?? this.#defaultModel;
    const named = (model: Model) => model.name === wanted;
    const models = await this.#recent();
    const found = models.find(named);
    if (found) return found;
    if (wanted === this.#defaultModel) return { name: wanted, workers: 0 };
    const late = (await this.#recent(MISSING_FRESH_MS)).find(named);
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
    this.#readAt = -Infinity;
  }

  /** Why a request for a model without workers cannot be answered, and what could be. */
  async noWorkerFor(name: string): Promise<string> {
    const served = (await this.#recent()).filter(({ workers }) => workers > 0).map((model) => model.name);
    const others =
      served.length === 0
        ? 'no worker is there at all: start one (`npm start`, or `npm run start:worker`)'
        : `served: ${served.join(', ')}`;
    return `no worker serves ${name} at the moment; ${others}`;
  }

  /** How many live workers serve a model. */
  async workersOf(name: string): Promise<number> {
    const models = await this.#recent();
    return models.find((model) => model.name === name)?.workers ?? 0;
  }

  async #recent(maxAgeMs = FRESH_MS): Promise<Model[]> {
    return performance.now() - this.#readAt < maxAgeMs ? this.#models : this.list();
  }

  async #read(): Promise<Model[]> {
    const models = await this.#registry.list();
    this.#models = models.map((model) => ({ ...model, default: model.name === this.#defaultModel }));
    this.#readAt = performance.now();
    return this.#models;
  }
}
