/** Clients that call an API over keep-alive connections, each one call at a time. */
import { Agent, request } from 'node:http';

/**
 * Jobs of one text until Node's compilers are done with API and worker. After 2,500, compiling still takes a sixth of the API's CPU, and
 * some rounds of 4,000 jobs cost 1.5 times as much as others.
 */
export const COMPILED_JOBS = 12_000;

/** One request to the API. */
export interface Call {
  path: string;
  method: 'GET' | 'POST';
  body?: unknown;
  headers?: Record<string, string> | undefined;
}

export interface Answer {
  status: number;
  body: string;
}

/**
 * Runs `work` on every item, `clients` at a time.
 * @returns duration of each call, in ms
 */
export async function runClients<Item>(
  items: readonly Item[],
  clients: number,
  work: (item: Item, agent: Agent) => Promise<void>,
): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const times: number[] = [];
  let next = 0;
  try {
    await Promise.all(
      Array.from({ length: clients }, async () => {
        for (let i = next++; i < items.length; i = next++) {
          const start = performance.now();
          await work(items[i]!, agent);
          times.push(performance.now() - start);
        }
      }),
    );
  } finally {
    agent.destroy();
  }
  return times;
}

/** Body of a job. */
export const bodyOf = (texts: readonly string[]) => (texts.length === 1 ? { text: texts[0] } : { texts });

/** Submits a job and waits for it in the same call. */
export async function submitAndWait(url: string, texts: readonly string[], agent: Agent): Promise<void> {
  const answer = await send(
    url,
    { method: 'POST', path: '/v1/jobs', body: bodyOf(texts), headers: { Prefer: 'wait=60' } },
    agent,
  );
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
}

const POLL_MS = 100;

/** Submits a job, then reads it every POLL_MS until it is done. */
export async function submitAndPoll(url: string, texts: readonly string[], agent: Agent): Promise<void> {
  const submitted = await send(url, { method: 'POST', path: '/v1/jobs', body: bodyOf(texts) }, agent);
  if (submitted.status !== 202) throw new Error(`${submitted.status} ${submitted.body}`);
  const { urls } = JSON.parse(submitted.body) as { urls: { self: string } };
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const answer = await send(url, { method: 'GET', path: urls.self }, agent);
    const { status } = JSON.parse(answer.body) as { status: string };
    if (status === 'succeeded') return;
    if (status !== 'queued' && status !== 'processing') throw new Error(answer.body);
  }
}

/** Sends a request by node:http: clients share the machine with the measured processes, and fetch costs four times as much CPU. */
export function send(url: string, { path, method, body, headers = {} }: Call, agent: Agent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const call = request(
      url + path,
      {
        method,
        agent,
        headers: bytes
          ? { 'Content-Type': 'application/json', 'Content-Length': bytes.length, ...headers }
          : headers,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
        response.on('error', reject);
      },
    );
    call.on('error', reject);
    call.end(bytes);
  });
}
