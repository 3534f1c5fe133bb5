/**
 * A caller beside the attacker: calls `/predict`, or submits jobs and receives their webhooks, at a steady pace. Runs in a
 * thread, so that the work of the attacker does not delay it. Posts durations and reasons of failures at `end`.
 */
import { Agent, createServer, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

export interface BystanderOptions {
  url: string;
  key: string;
  /** Port that receives webhooks. */
  port: number;
  waitsFor: 'predict' | 'deliveries';
}

export interface Observed {
  /** Duration of each call that succeeded, ms. */
  ms: number[];
  /** Reason → number of failed calls. */
  failures: Record<string, number>;
}

const EVERY_MS = { predict: 50, deliveries: 100 };
const TIMEOUT_MS = 10_000;

const { url, key, port, waitsFor } = workerData as BystanderOptions;
const agent = new Agent({ keepAlive: true });
const arrivals = new Map<string, () => void>();
const receiver = createServer((incoming, response) => {
  arrivals.get(incoming.url ?? '')?.();
  incoming.resume().on('end', () => response.writeHead(204).end());
});

/** @returns the status, or the reason why the request failed */
function post(path: string, body: unknown): Promise<string> {
  return new Promise((resolve) => {
    const text = JSON.stringify(body);
    const sent = request(url + path, {
      method: 'POST',
      agent,
      headers: {
        Authorization: `Bearer ${key}`,
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(text),
      },
    });
    const timer = setTimeout(() => {
      resolve(`nothing in ${TIMEOUT_MS / 1000} s`);
      sent.destroy();
    }, TIMEOUT_MS);
    const end = (outcome: string) => {
      clearTimeout(timer);
      resolve(outcome);
    };
    sent.on('response', (response) => response.resume().on('end', () => end(String(response.statusCode))));
    sent.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'));
    sent.end(text);
  });
}

async function predict(): Promise<string> {
  const status = await post('/predict', { text: 'utterly charming' });
  return status === '200' ? 'fine' : status;
}

let deliveries = 0;
async function deliver(): Promise<string> {
  const path = `/${deliveries++}`;
  const arrived = new Promise<void>((resolve) => arrivals.set(path, resolve));
  const webhook = { url: `http://127.0.0.1:${port}${path}` };
  const status = await post('/v1/jobs', { text: 'utterly charming', webhook });
  if (status !== '202') return status;
  return Promise.race([
    arrived.then(() => 'fine'),
    sleep(TIMEOUT_MS, `no delivery in ${TIMEOUT_MS / 1000} s`, { ref: false }),
  ]);
}

let observed: Observed = { ms: [], failures: {} };
let underWay: Promise<void>[] = [];
let timer: NodeJS.Timeout | undefined;

async function call(): Promise<void> {
  const { ms, failures } = observed;
  const start = performance.now();
  const outcome = await (waitsFor === 'predict' ? predict() : deliver());
  if (outcome === 'fine') ms.push(performance.now() - start);
  else failures[outcome] = (failures[outcome] ?? 0) + 1;
}

await new Promise<void>((resolve) => receiver.listen(port, '127.0.0.1', resolve));
parentPort?.on('message', (message: 'begin' | 'end') => {
  clearInterval(timer);
  if (message === 'begin') {
    observed = { ms: [], failures: {} };
    underWay = [];
    timer = setInterval(() => underWay.push(call()), EVERY_MS[waitsFor]);
  } else void Promise.all(underWay).then(() => parentPort?.postMessage(observed));
});
parentPort?.postMessage('ready');
