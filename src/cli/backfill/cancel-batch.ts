/** Cancels a batch in one short attempt: if it fails, the batch continues or expires by itself. */
import { BatchClient } from '../../client/batches.ts';
import { urlOf } from '../../client/exchange.ts';
import { connectTo } from './server.ts';

const LIMIT_MS = 3000;

/** Cancels an unfinished batch, removes a finished one. @returns whether the request succeeded */
export async function cancelBatch(url: URL, batch: string): Promise<boolean> {
  const http = connectTo(url);
  try {
    await new BatchClient(http).delete(batch, AbortSignal.timeout(LIMIT_MS));
    return true;
  } catch {
    return false;
  } finally {
    http.close();
  }
}

export function batchUrl(url: URL, batch: string): string {
  return urlOf(url, { method: 'DELETE', path: `/v1/batches/${encodeURIComponent(batch)}` }).href;
}
