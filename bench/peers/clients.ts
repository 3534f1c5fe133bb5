/** Clients of every peer: one text per request, in the peer's own protocol, spread over its processes' ports. */
import { Agent } from 'node:http';
import { runClients, send } from '../clients.ts';

export interface Prediction {
  label: string;
  score: number;
}

/** How a server is asked for one text. */
export interface Protocol {
  path: string;
  headers?: Record<string, string>;
  body: (text: string) => unknown;
  /** The best label in the parsed response. */
  best: (response: unknown) => Prediction | undefined;
}

/** Amulet's, and that of the services in this folder. */
export const PREDICT: Protocol = {
  path: '/predict',
  body: (text) => ({ text }),
  best: (response) => response as Prediction,
};

/** A job of Amulet whose caller waits. */
export const JOB: Protocol = {
  path: '/v1/jobs',
  headers: { Prefer: 'wait=30' },
  body: (text) => ({ texts: [text] }),
  best: (response) => (response as { results: Prediction[] }).results[0],
};

/** text-embeddings-inference: labels in any order. */
export const TEI_PREDICT: Protocol = {
  path: '/predict',
  body: (text) => ({ inputs: text }),
  best: (response) => bestOf(response as Prediction[]),
};

/** infinity: a list of labels for each of a list of texts. */
export const INFINITY_CLASSIFY: Protocol = {
  path: '/classify',
  body: (text) => ({ input: [text] }),
  best: (response) => bestOf((response as { data: Prediction[][] }).data[0] ?? []),
};

/** BentoML's batchable endpoints take and give lists. */
export const BENTOML_PREDICT: Protocol = {
  path: '/predict',
  body: (text) => ({ texts: [text] }),
  best: (response) => (response as Prediction[])[0],
};

function bestOf(predictions: readonly Prediction[]): Prediction | undefined {
  return [...predictions].sort((a, b) => b.score - a.score)[0];
}

/** Addresses of a running server: more than one when its processes have a port each. */
export interface Endpoint {
  urls: readonly string[];
  protocol: Protocol;
}

/** Sends every text once, from `clients` connections at a time; returns how long each took, in ms. */
export function predictAll(to: Endpoint, texts: readonly string[], clients: number): Promise<number[]> {
  let next = 0;
  return runClients(texts, clients, async (text, agent) => {
    await ask(to.urls[next++ % to.urls.length]!, to.protocol, text, agent);
  });
}

/** The answers to some texts sent at the same time, so that a server that batches does; each text to each of its ports. */
export async function predictions(to: Endpoint, texts: readonly string[]): Promise<Prediction[]> {
  const agent = new Agent({ maxSockets: texts.length });
  const all = await Promise.all(
    to.urls.flatMap((url) =>
      texts.map(async (text) => {
        const body = await ask(url, to.protocol, text, agent);
        const best = to.protocol.best(JSON.parse(body));
        if (best === undefined) throw new Error(`no label in ${body.slice(0, 300)}`);
        return best;
      }),
    ),
  );
  return all;
}

async function ask(
  url: string,
  { path, headers, body }: Protocol,
  text: string,
  agent: Agent,
): Promise<string> {
  const answer = await send(url, { method: 'POST', path, headers, body: body(text) }, agent);
  if (answer.status !== 200) throw new Error(`${answer.status}: ${answer.body.slice(0, 300)}`);
  return answer.body;
}
