/** The faults of a soak, one at a time. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.ts';

type Fault = (cluster: Cluster, random: () => number) => Promise<void>;

const FAULTS: Record<string, Fault> = {
  'worker killed': (cluster) => cluster.replace('worker-mortal', 'SIGKILL'),
  'API killed': (cluster) => cluster.replace('api-mortal', 'SIGKILL'),
  'webhook process killed': (cluster) => cluster.replace('webhooks-mortal', 'SIGKILL'),
  'model process killed': async (cluster, random) => {
    const name = random() < 0.5 ? 'worker-steady' : 'worker-mortal';
    const port = /health on \S+:(\d+)/.exec(await cluster.get(name).ready)?.[1];
    const answered = await fetch(`http://127.0.0.1:${port}/health/live`);
    const { model_pids: pids } = (await answered.json()) as { model_pids: number[] };
    if (pids[0] !== undefined) process.kill(pids[0], 'SIGKILL');
  },
  'Redis killed': async ({ redis }, random) => {
    await redis.kill();
    await sleep(2000 * random());
    await redis.restart();
  },
  'Redis frozen': async ({ redis }, random) => {
    redis.freeze();
    await sleep(1000 + 6000 * random());
    redis.thaw();
  },
  'worker frozen beyond its locks': async (cluster) => {
    const { child } = cluster.get('worker-mortal');
    child.kill('SIGSTOP');
    await sleep(7000);
    child.kill('SIGCONT');
  },
  'worker restarted in order': (cluster) => cluster.replace('worker-mortal', 'SIGTERM'),
  'API restarted in order': (cluster) => cluster.replace('api-mortal', 'SIGTERM'),
  'webhook process restarted in order': (cluster) => cluster.replace('webhooks-mortal', 'SIGTERM'),
  'worker cut off': async ({ proxy }, random) => {
    proxy.cut();
    await sleep(3000 * random());
    proxy.heal();
  },
  'worker in a black hole': async ({ proxy }, random) => {
    proxy.blackHole();
    await sleep(2000 + 8000 * random());
    proxy.heal();
  },
};

/** Causes one fault after the other until the time is over, each kind about as often. @returns the count of each */
export async function haveFaults(
  cluster: Cluster,
  until: number,
  random: () => number,
  onFault: (name: string) => void,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  let queue: string[] = [];
  while (Date.now() < until) {
    if (queue.length === 0) queue = Object.keys(FAULTS).sort(() => random() - 0.5);
    const name = queue.pop() as string;
    onFault(name);
    await FAULTS[name]?.(cluster, random);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    await sleep(Math.min(4000 + 16_000 * random(), Math.max(0, until - Date.now())));
  }
  return counts;
}
