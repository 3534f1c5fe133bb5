/**
 * Exports of the typed client. It needs fetch, streams and WebCrypto but no package: Node 20, Deno, Bun, browsers. (The `amulet`
 * command shares batches.ts and has another transport, http.ts.)
 */
export {
  AmuletClient,
  type BatchListOptions,
  type ClassifyOptions,
  type ClientOptions,
  type DeliveryListOptions,
  type JobListOptions,
  type SubmitOptions,
  type TextInput,
} from './amulet-client.ts';
export {
  type BatchHandle,
  type BatchWaitOptions,
  type DownloadOptions,
  type ResultsOptions,
} from './batch-handle.ts';
export type { BatchInput, FormattedBytes, TextRow } from './batch-input.ts';
export { AmuletError, ApiError, ConnectionError, ProtocolError, type FieldError } from './errors.ts';
export { BatchError, ClassificationError, WaitTimeoutError } from './outcome-errors.ts';
export type { BatchSubmitOptions } from './submit-batch.ts';
export type * from './types.ts';
export type { CallOptions, WaitOptions } from './wait.ts';
export { verifyWebhook, WebhookVerificationError, type WebhookHeaders } from './webhook.ts';
