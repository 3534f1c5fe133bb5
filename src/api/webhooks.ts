/** Webhooks for callers: subscribe, read, redeliver and cancel deliveries, read and rotate secrets. */
import type { Delivery, EventType, Webhook } from '../shared/contract/webhooks.ts';
import { AppError } from '../shared/contract/problems.ts';
import { EVENT_ID, shownId } from '../shared/contract/ids.ts';
import { EVERYBODY } from '../shared/contract/owner.ts';
import { deliveryJobId } from '../shared/store/queues.ts';
import { toPage } from './list-page.ts';
import type { Admission } from './load/admission.ts';
import { toDelivery } from '../shared/store/deliveries/delivery-view.ts';
import type { DeliveryFilter } from '../shared/store/deliveries/delivery-lists.ts';
import type { DeliveryStore } from '../shared/store/deliveries/delivery-store.ts';
import type { Secret, Secrets } from '../shared/store/deliveries/secrets.ts';
import type { Deps } from './deps.ts';

/** Deliveries that a page of a filtered list looks at. */
const MAX_LOOKED = 2000;

export interface WebhookServiceDeps extends Deps<'config' | 'withRedis'> {
  deliveries: DeliveryStore;
  secrets: Secrets;
  admission?: Pick<Admission, 'requireRoom'>;
  /** Removes a job from the queue of deliveries, unless it is not there or being processed. */
  dequeue?: (jobId: string) => Promise<void>;
  /** Called for every canceled delivery. */
  onCancel?: () => void;
}

export class WebhookService {
  readonly #deps: WebhookServiceDeps;

  constructor(deps: WebhookServiceDeps) {
    this.#deps = deps;
  }

  /**
   * The webhook of a request as it is stored with the job or batch.
   * @param trace of the request, as runtime/trace-context.ts writes it
   * @throws AppError `invalid_request` while there is no secret to sign with
   */
  accept(
    owner: string,
    { url, events }: { url: string; events?: EventType[] | undefined },
    trace: string,
  ): Webhook {
    if (owner === EVERYBODY && this.#deps.config.WEBHOOK_SECRET.length === 0) {
      const message =
        'this server sends no webhooks: WEBHOOK_SECRET is not set, and every webhook must be signed';
      throw new AppError('invalid_request', message, { errors: [{ path: 'webhook', message }] });
    }
    return { url, ...(events === undefined ? {} : { events }), trace };
  }

  /** @throws AppError `delivery_not_found` */
  async get(owner: string, id: string): Promise<Delivery> {
    if (!EVENT_ID.test(id)) throw notFound(id);
    return this.#deps.withRedis(async () => {
      const record = await this.#deps.deliveries.read(id);
      if (record?.owner !== owner) throw notFound(id);
      return toDelivery(id, record);
    });
  }

  /** @returns a page, newest first, and the id that the next page comes after */
  async list(
    owner: string,
    { limit, after, ...filter }: DeliveryFilter & { limit: number; after: string | undefined },
  ): Promise<{ deliveries: Delivery[]; next: string | null }> {
    const { withRedis, deliveries } = this.#deps;
    // Failed deliveries have a separate list.
    const filtered = filter.model !== undefined || (filter.status ?? 'failed') !== 'failed';
    const page = { limit, after, filtered, maxLooked: filtered ? MAX_LOOKED : Infinity };
    return withRedis(async () => {
      const { entries, next } = await toPage(page, (from, count) =>
        deliveries.lists.slice(owner, filter, { after: from, count, most: limit + 1 }),
      );
      return { deliveries: entries.map(({ id, record }) => toDelivery(id, record)), next };
    });
  }

  /**
   * Stops a pending delivery: no further attempts. An attempt that is under way may still succeed.
   * @throws AppError `delivery_not_found`, `delivery_not_pending`
   */
  async cancel(owner: string, id: string): Promise<Delivery> {
    await this.get(owner, id);
    return this.#deps.withRedis(async () => {
      const { deliveries, config, dequeue, onCancel } = this.#deps;
      const ended = await deliveries.cancel(id, config.WEBHOOK_TTL_S);
      if (!ended) throw notFound(id);
      if (ended.status !== 'canceled') {
        const message = `the delivery ${id} has ended (${ended.status}); only a pending delivery can be canceled`;
        throw new AppError('delivery_not_pending', message);
      }
      if (ended.isNew) onCancel?.();
      // A webhook process that holds the delivery finds out by itself.
      await dequeue?.(deliveryJobId(id, ended.run));
      return this.get(owner, id);
    });
  }

  /**
   * Sends a delivery again now, whether it was delivered, given up, or waits for its next attempt.
   * @throws AppError `delivery_not_found`, `queue_full`
   */
  async redeliver(owner: string, id: string): Promise<Delivery> {
    await this.get(owner, id);
    return this.#deps.withRedis(async () => {
      await this.#deps.admission?.requireRoom();
      if (!(await this.#deps.deliveries.redeliver(id, owner))) throw notFound(id);
      return this.get(owner, id);
    });
  }

  /** The secrets of an API key, the current one first. @throws AppError `no_api_key` */
  async secrets(owner: string): Promise<Secret[]> {
    requireKey(owner);
    return this.#deps.withRedis(() => this.#deps.secrets.of(owner));
  }

  /** Replaces the secret of an API key. @throws AppError `no_api_key`; `rate_limited` after many replacements */
  async rotate(owner: string): Promise<Secret[]> {
    requireKey(owner);
    return this.#deps.withRedis(() => this.#deps.secrets.rotate(owner));
  }
}

/** Without keys, any caller could read the secret of all; the operator has WEBHOOK_SECRET anyway. */
function requireKey(owner: string): void {
  if (owner !== EVERYBODY) return;
  throw new AppError(
    'no_api_key',
    'webhook secrets belong to API keys; without keys, webhooks are signed with the WEBHOOK_SECRET of the operator',
  );
}

function notFound(id: string): AppError {
  const why = EVENT_ID.test(id)
    ? 'deliveries are kept for a limited time after their end'
    : 'the id of a delivery looks like evt_019aaf3c5e7b9d0e5f1a2b3c4d5e6f70';
  return new AppError('delivery_not_found', `there is no delivery ${shownId(id)}; ${why}`);
}
