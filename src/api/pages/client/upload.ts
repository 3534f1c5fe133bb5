/**
 * Sends a file as the body of a request. By XMLHttpRequest, because fetch cannot report how much of a body it has sent.
 */
import { parseProblem, Unreachable } from './problems.ts';

export interface UploadOptions {
  headers: Record<string, string>;
  signal: AbortSignal;
  /** @param sent bytes of the file */
  onProgress: (sent: number) => void;
}

/** @throws ApiProblem, Unreachable, or the signal's reason */
export function upload<T>(
  url: string,
  file: Blob,
  { headers, signal, onProgress }: UploadOptions,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    signal.addEventListener('abort', abort, { once: true });
    request.upload.addEventListener('progress', ({ loaded }) => onProgress(loaded));
    request.addEventListener('load', () => {
      const { status, responseText: body } = request;
      if (status < 300) resolve(JSON.parse(body) as T);
      else reject(parseProblem(status, body, request.getResponseHeader('retry-after')));
    });
    request.addEventListener('error', () => reject(new Unreachable('the upload was interrupted')));
    request.addEventListener('abort', () => reject(signal.reason as Error));
    request.addEventListener('loadend', () => signal.removeEventListener('abort', abort));
    request.open('POST', url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(file);
  });
}
