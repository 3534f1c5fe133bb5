/** The services that routes call. */
import type { KeySet } from '../../shared/runtime/api-keys.ts';
import type { BatchResults } from '../batches/batch-results.ts';
import type { BatchService } from '../batches/batch-service.ts';
import type { Deps } from '../deps.ts';
import type { JobService } from '../jobs/job-service.ts';
import type { JobSubmission } from '../jobs/job-submission.ts';
import type { Durability } from '../load/durability.ts';
import type { Stats } from '../load/stats.ts';
import type { RequestSchemas } from '../requests.ts';
import type { WebhookService } from '../webhooks.ts';

export interface RouteDeps extends Deps<'config' | 'catalog' | 'withRedis' | 'logger'> {
  schemas: RequestSchemas;
  jobs: JobService;
  submission: JobSubmission;
  batches: BatchService;
  results: BatchResults;
  webhooks: WebhookService;
  stats: Stats;
  durability: () => Durability | undefined;
  /** Whether callers need a key; then the removal of a model needs that of an admin. */
  hasKeys: boolean;
  /** Keys of those who run the service: ADMIN_KEYS. */
  admins: KeySet;
  /** Fires when the server shuts down, so that no response delays it. */
  stopping: AbortSignal;
  version: string;
}
