/**
 * The receivers of docs/webhooks.md, as programs: TypeScript always, Python and Go where they and the library are installed.
 * TEST_RECEIVERS=install gets the libraries from PyPI and the Go module proxy, into .amulet; otherwise only what is there is used.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '../redis/redis.ts';
import { eventually } from '../processes/stack.ts';

const FOLDER = path.resolve('.amulet/test-receivers');
const PYTHON_LIBRARY = 'standardwebhooks==1.1.0';
const GO_LIBRARY = 'github.com/standard-webhooks/standard-webhooks/libraries@v0.0.1';
const MAY_INSTALL = process.env.TEST_RECEIVERS === 'install';

export interface Program {
  language: string;
  /** Why it cannot be run here. */
  missing?: string;
  command: string;
  args: string[];
}

/** All receivers of the page, made ready to be run. */
export function receiverPrograms(): Program[] {
  mkdirSync(FOLDER, { recursive: true });
  return [typescript(), python(), go()];
}

/** Writes the program down. @returns its path */
function extract(language: string, file: string): string {
  const page = readFileSync('docs/webhooks.md', 'utf8');
  const [, code] = new RegExp(`^\`\`\`${language}\n(.*${file}.*\n[^]*?)^\`\`\`$`, 'm').exec(page) ?? [];
  if (code === undefined) throw new Error(`docs/webhooks.md has no ${file}`);
  const folder = path.join(FOLDER, language);
  mkdirSync(folder, { recursive: true });
  const target = path.join(folder, file);
  writeFileSync(target, code);
  return target;
}

function typescript(): Program {
  return { language: 'TypeScript', command: process.execPath, args: [extract('ts', 'receiver.ts')] };
}

function python(): Program {
  const program = extract('python', 'receiver.py');
  const venv = path.join(FOLDER, 'venv');
  const own = path.join(venv, 'bin/python');
  const hasLibrary = (candidate: string) => works(candidate, ['-c', 'import standardwebhooks']);
  // Not whether the folder is there: it is, without the library, when an installation was broken off.
  if (MAY_INSTALL && !hasLibrary(own) && works('python3', ['-m', 'venv', venv]))
    works(own, ['-m', 'pip', 'install', '--quiet', PYTHON_LIBRARY]);
  const command = [own, 'python3'].find(hasLibrary);
  const missing =
    command === undefined ? 'no Python with standardwebhooks; TEST_RECEIVERS=install' : undefined;
  return { language: 'Python', ...(missing && { missing }), command: command ?? '', args: [program] };
}

function go(): Program {
  const folder = path.dirname(extract('go', 'receiver.go'));
  const binary = path.join(folder, 'receiver');
  const compiler = ['go', '/usr/local/go/bin/go'].find((candidate) => works(candidate, ['version']));
  let missing = compiler === undefined ? 'no Go' : undefined;
  if (compiler !== undefined) {
    if (MAY_INSTALL && !existsSync(path.join(folder, 'go.sum'))) {
      writeFileSync(path.join(folder, 'go.mod'), 'module receiver\n');
      works(compiler, ['get', GO_LIBRARY], folder);
    }
    if (!works(compiler, ['build', '-o', binary, 'receiver.go'], folder))
      missing = 'the Go library is not there; TEST_RECEIVERS=install';
  }
  return { language: 'Go', ...(missing && { missing }), command: binary, args: [] };
}

function works(command: string, args: string[], cwd?: string): boolean {
  return spawnSync(command, args, { cwd, stdio: 'ignore', timeout: 240_000 }).status === 0;
}

/** A receiver that runs. */
export class RunningReceiver {
  readonly url: string;
  readonly #child: ChildProcess;
  #output = '';
  #complaints = '';

  private constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
    child.stdout?.on('data', (bytes: Buffer) => (this.#output += bytes.toString()));
    child.stderr?.on('data', (bytes: Buffer) => (this.#complaints += bytes.toString()));
  }

  /** @returns when it answers */
  static async start({ command, args }: Program, secret: string): Promise<RunningReceiver> {
    const port = await freePort();
    const child = spawn(command, args, {
      env: { ...process.env, PORT: String(port), WEBHOOK_SECRET: secret },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const receiver = new RunningReceiver(`http://127.0.0.1:${port}/`, child);
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`it ended: ${receiver.#complaints}`);
      return (await receiver.post('{}', {}).catch(() => undefined)) === undefined ? undefined : true;
    });
    return receiver;
  }

  /** What it has done, a line for each event. */
  get lines(): string[] {
    return this.#output.split('\n').filter((line) => line !== '');
  }

  /** @returns the status of the answer */
  async post(body: string, headers: Record<string, string>): Promise<number> {
    const response = await fetch(this.url, { method: 'POST', body, headers });
    await response.arrayBuffer();
    return response.status;
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }
}
