/** A last request about a batch: if it fails, the batch goes on, or expires, by itself. */
import { BatchClient } from '../../client/batches.ts';
import { urlOf } from '../../client/exchange.ts';
import { connectTo } from './server.ts';

const LIMIT_MS = 3000;

/** Cancels a batch that is not final, removes one that is; tells whether that has worked. */
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
