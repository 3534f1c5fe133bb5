/** docker-compose.yml, and the environment that it gives to a container. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';

export interface Service {
  image: string;
  command?: string;
  environment?: Record<string, string | null>;
  ports?: string[];
  volumes?: string[];
  read_only: boolean;
  cap_drop: string[];
  security_opt: string[];
  stop_grace_period: string;
  healthcheck?: { start_period?: string };
}

export const composeFile = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, null>;
};
/** The environment of a container, as Compose makes it of the shell and `.env`, on top of the image's. */
export function containerEnvironment(
  { environment }: Service,
  given: Record<string, string>,
): Record<string, string> {
  const value = (text: string): string => {
    const result = text.replace(
      /\$\{(\w+):-([^${}]*)\}/g,
      (_, name: string, otherwise: string) => given[name] ?? otherwise,
    );
    // docker-compose 1 leaves a default within a default as it is.
    if (result.includes('${')) throw new Error(`${text} is beyond docker-compose 1`);
    return result;
  };
  const entries = Object.entries(environment ?? {}).flatMap(([name, set]) => {
    const result = set === null ? given[name] : value(set);
    return result === undefined ? [] : [[name, result] as const];
  });
  return { HOST: '0.0.0.0', DATA_DIR: '/data', ...Object.fromEntries(entries) };
}
