/** A last request about a batch, as a courtesy: if it fails, the batch goes on, or expires, by itself. */
import { BatchClient } from '../client/batches.ts';
import { connectTo } from './server.ts';

const LIMIT_MS = 3000;

/** Cancels a batch that is not final, removes one that is; tells whether that has worked. */
export async function abandon(url: URL, batch: string): Promise<boolean> {
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
