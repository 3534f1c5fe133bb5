/** Clients of every peer: one text at a time through `POST /predict`. */
import { Agent } from 'node:http';
import { runClients, send } from '../clients.ts';

export interface Prediction {
  label: string;
  score: number;
}

/** Sends every text once, from `clients` connections at a time; returns how long each took, in ms. */
export function predictAll(url: string, texts: readonly string[], clients: number): Promise<number[]> {
  return runClients(texts, clients, async (text, agent) => {
    await predict(url, text, agent);
  });
}

/** The answers to some texts sent at the same time, so that a server that batches does. */
export async function predictions(url: string, texts: readonly string[]): Promise<Prediction[]> {
  const agent = new Agent({ maxSockets: texts.length });
  return Promise.all(texts.map(async (text) => JSON.parse(await predict(url, text, agent)) as Prediction));
}

async function predict(url: string, text: string, agent: Agent): Promise<string> {
  const { status, body } = await send(url, { method: 'POST', path: '/predict', body: { text } }, agent);
  if (status !== 200) throw new Error(`${status}: ${body.slice(0, 300)}`);
  return body;
}
