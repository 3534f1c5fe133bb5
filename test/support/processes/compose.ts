/** docker-compose.yml on a Docker engine, as a separate project beside others that run there. */
import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { eventually } from './stack.ts';

const run = promisify(execFile);

/** A build prints a lot. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

const works = (program: string, ...args: string[]): boolean =>
  spawnSync(program, args, { stdio: 'ignore' }).status === 0;

/** Runs the `docker` command. @returns its standard output @throws Error with all that it said */
export async function docker(...args: string[]): Promise<string> {
  const { stdout } = await run('docker', args, { maxBuffer: MAX_OUTPUT_BYTES });
  return stdout.trim();
}

/**
 * What keeps a compose file from being run here, in words, or undefined.
 * @param images that it starts from
 */
export function composeMissing(images: string[]): string | undefined {
  if (!works('docker', 'info')) return 'no Docker engine answers';
  if (composeCommand() === undefined) return 'no docker compose';
  return images
    .filter((image) => !works('docker', 'image', 'inspect', image) && !works('docker', 'pull', '-q', image))
    .map((image) => `the image ${image} is not to be had`)[0];
}

/** Compose v2 or, before it, v1. */
function composeCommand(): [string, ...string[]] | undefined {
  if (works('docker', 'compose', 'version')) return ['docker', 'compose'];
  return works('docker-compose', 'version') ? ['docker-compose'] : undefined;
}

export interface ComposeOptions {
  files: string[];
  /** What the files take from the shell. */
  env: Record<string, string>;
}

export class Compose {
  readonly project = `amulet-test-${randomBytes(4).toString('hex')}`;
  readonly #command: string[];
  readonly #env: Record<string, string>;

  constructor({ files, env }: ComposeOptions) {
    const command = composeCommand() ?? [];
    this.#command = [...command, '-p', this.project, ...files.flatMap((file) => ['-f', file])];
    this.#env = env;
  }

  /** @returns standard output @throws Error with all that it said */
  async run(...args: string[]): Promise<string> {
    const [program = '', ...before] = this.#command;
    const { stdout } = await run(program, [...before, ...args], {
      env: { ...process.env, ...this.#env },
      maxBuffer: MAX_OUTPUT_BYTES,
    });
    return stdout.trim();
  }

  /** Starts what is not running, and waits until all of it is healthy. */
  async up(...args: string[]): Promise<void> {
    await this.run('up', '-d', '--no-build', ...args);
    await this.healthy();
  }

  /** Ids of the running containers of a service; of all of them without a name. */
  async containers(service?: string): Promise<string[]> {
    const labels = [
      `project=${this.project}`,
      // Not those of `run`, nor others of the image, which has the project as its label, too.
      'oneoff=False',
      ...(service === undefined ? [] : [`service=${service}`]),
    ];
    const filters = labels.flatMap((label) => ['--filter', `label=com.docker.compose.${label}`]);
    const ids = await docker('ps', '-q', ...filters);
    return ids.split('\n').filter((id) => id !== '');
  }

  /** Waits until every container that runs says that it is healthy. */
  async healthy(): Promise<void> {
    await eventually(async () => {
      const states = await inspect(await this.containers(), '{{.State.Health.Status}}');
      return states.every((state) => state === 'healthy') ? true : undefined;
    });
  }

  /** Where a port of a service is published. */
  async address(service: string, port: number): Promise<string> {
    return this.run('port', service, String(port));
  }

  /** Takes everything away: containers, network and volumes. */
  async remove(): Promise<void> {
    await this.run('down', '--volumes', '--remove-orphans', '--timeout', '1');
  }
}

/** @param format of one container, as `docker inspect` takes it */
export async function inspect(containers: string[], format: string): Promise<string[]> {
  return containers.length === 0
    ? []
    : (await docker('inspect', '--format', format, ...containers)).split('\n');
}
