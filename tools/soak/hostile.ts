/** A caller with another key that attacks one API instance after the other while the load and the faults go on. */
import type { Batch } from '../../src/shared/contract/batches.ts';
import { Attacker } from '../../test/support/attacks/attacker.ts';
import { ATTACKS, type Attack } from '../../test/support/attacks/attacks.ts';
import type { Violations } from './violations.ts';

/** Largest answer to any request. */
const MAX_ANSWER_BYTES = 65_536;

/** Attacks that leave less than minutes of work behind, and need no special processes. */
const NAMES = [
  /^JSON, /,
  /bodies that (stop|trickle)/,
  /never end their headers/,
  /in chunks of one byte/,
  /^40 parts with a CSV header/,
  /batches opened with a CSV header/,
  /wrong keys/,
  /do not exist/,
  /queries of/,
  /pipelined/,
];

export interface HostileOptions {
  /** Addresses of the API instances, as they are now. */
  urls: () => string[];
  key: string;
  random: () => number;
  violations: Violations;
}

export class Hostile {
  /** How often each attack was made. */
  readonly counts = new Map<string, number>();
  readonly #options: HostileOptions;
  readonly #over = new AbortController();
  #attacking: Promise<void> | undefined;

  constructor(options: HostileOptions) {
    this.#options = options;
  }

  start(): void {
    this.#attacking = this.#attack();
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#attacking;
    for (const status of ['open', 'queued', 'processing']) await this.#cancelBatches(status);
  }

  /** Their work could take longer than anybody waits for the end of the load's. */
  async #cancelBatches(status: string): Promise<void> {
    const { urls, key } = this.#options;
    const [url] = urls();
    const headers = { Authorization: `Bearer ${key}` };
    for (;;) {
      const listed = await fetch(`${url}/v1/batches?limit=100&status=${status}`, { headers });
      const { batches } = (await listed.json()) as { batches: Pick<Batch, 'id'>[] };
      if (batches.length === 0) return;
      for (const { id } of batches) await fetch(`${url}/v1/batches/${id}`, { method: 'DELETE', headers });
    }
  }

  get total(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }

  async #attack(): Promise<void> {
    const suitable = ATTACKS.filter(({ name, stack }) => !stack && NAMES.some((each) => each.test(name)));
    let queue: Attack[] = [];
    while (!this.#over.signal.aborted) {
      if (queue.length === 0) queue = suitable.toSorted(() => this.#options.random() - 0.5);
      await this.#once(queue.pop()!);
    }
  }

  async #once({ name, seconds, run }: Attack): Promise<void> {
    const { urls, key, random, violations } = this.#options;
    const all = urls();
    const url = all[Math.floor(random() * all.length)];
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(seconds * 1000)]);
    const attacker = new Attacker({ url: url ?? '', receiverPorts: [], disk: '' }, key, signal);
    // None is up just now.
    if (url === undefined) return attacker.pause(1);
    await attacker.attack(run);
    attacker.release();
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1);
    for (const { status, bytes } of attacker.outcomes) {
      if (status === 500) violations.add('an attack answered with 500', name);
      if (bytes > MAX_ANSWER_BYTES) violations.add('an answer of more than 64 KB', `${name}: ${bytes} bytes`);
    }
  }
}
