/** A minimal client of the batches API: uploads from memory, and counts the lines of results. */
import { request } from 'node:http';
import { Readable } from 'node:stream';
import type { Batch } from '../src/shared/contract/batches.ts';
import { asNdjson } from './archive.ts';

/** Uploads records and resolves to the batch once they are stored. */
export function submitBatch(url: string, pieces: Iterable<Buffer>): Promise<Batch> {
  return new Promise((resolve, reject) => {
    const call = request(
      new URL('/v1/batches', url),
      { method: 'POST', headers: { 'Content-Type': 'application/x-ndjson' } },
      (response) => {
        let text = '';
        response.on('data', (piece: Buffer) => (text += piece.toString()));
        response.on('end', () => {
          if (response.statusCode === 202) resolve(JSON.parse(text) as Batch);
          else reject(new Error(`${response.statusCode} ${text}`));
        });
      },
    );
    call.on('error', reject);
    Readable.from(pieces, { objectMode: false }).pipe(call);
  });
}

/** Follows the results to their end. @returns number of lines */
export function countResults(url: string, id: string): Promise<number> {
  return new Promise((resolve, reject) => {
    // Exactly this type gets rows without heartbeats.
    const headers = { Accept: 'application/x-ndjson' };
    request(new URL(`/v1/batches/${id}/results?follow=true`, url), { headers }, (response) => {
      let lines = 0;
      response.on('data', (piece: Buffer) => {
        for (let at = piece.indexOf(10); at !== -1; at = piece.indexOf(10, at + 1)) lines++;
      });
      response.on('end', () => resolve(lines));
      response.on('error', reject);
    })
      .on('error', reject)
      .end();
  });
}

export async function readBatch(url: string, id: string): Promise<Batch> {
  return (await (await fetch(new URL(`/v1/batches/${id}`, url))).json()) as Batch;
}

/** Cancels a batch, and removes it when it is final. */
export async function deleteBatch(url: string, id: string): Promise<void> {
  await fetch(new URL(`/v1/batches/${id}`, url), { method: 'DELETE' });
}

/**
 * Runs texts as one batch, from the first byte of the upload to the last byte of the results, and removes it.
 * @throws Error when results are missing
 */
export async function runBatch(url: string, texts: readonly string[]): Promise<void> {
  const { id } = await submitBatch(url, asNdjson(texts));
  const lines = await countResults(url, id);
  if (lines !== texts.length) throw new Error(`${lines} results for ${texts.length} texts`);
  await deleteBatch(url, id);
}
