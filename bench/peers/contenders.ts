/** The servers that are compared: how each is installed, started and asked. README.md explains each configuration. */
import { mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { Stack } from '../../test/support/processes/stack.ts';
import { SHIPPED } from '../models.ts';
import {
  BENTOML_PREDICT,
  INFINITY_CLASSIFY,
  PREDICT,
  TEI_PREDICT,
  type Endpoint,
  type Protocol,
} from './clients.ts';
import { allowedCores } from './cores.ts';
import {
  nodePackages,
  packageVersion,
  programVersion,
  pythonEnvironment,
  pythonVersions,
  Unavailable,
} from './install.ts';
import { processTree, Server, type Command } from './server.ts';

const MODEL = path.resolve(SHIPPED);
const SERVICES = import.meta.dirname;

/** A running server. */
export interface Serving extends Endpoint {
  pids: () => number[];
  stop: () => Promise<void>;
}

export interface Contender {
  start: () => Promise<Serving>;
  versions: string;
}

/** Amulet as `npm start` runs it; the CPU and memory of its Redis count for Amulet. */
export async function amuletOn(redisUrl: string, protocol: Protocol): Promise<Contender> {
  const redis = new Redis(redisUrl);
  const redisPid = Number(/process_id:(\d+)/.exec(await redis.info('server'))?.[1]);
  redis.disconnect();
  return {
    versions: `onnxruntime-node ${packageVersion('.', 'onnxruntime-node')}, Node ${process.version}`,
    start: async () => {
      const stack = await Stack.start({
        redisUrl,
        env: { MODEL_PROCESSES: '', BATCH_TOKENS: '', BULK_BATCH_TOKENS: '' },
      });
      const processes = [stack.api, ...stack.workers].map(({ child }) => child.pid!);
      return {
        urls: [stack.url],
        protocol,
        pids: () => processTree([...processes, redisPid]),
        stop: () => stack.stop(),
      };
    },
  };
}

export async function fastApi(workers: number, intraOpThreads: number): Promise<Contender> {
  const python = await pythonEnvironment();
  return contender(
    [
      {
        program: python,
        // prettier-ignore
        args: (port) => [
          '-m', 'uvicorn', 'fastapi_service:app', '--host', '127.0.0.1', '--port', String(port),
          '--workers', String(workers), '--no-access-log', '--log-level', 'warning',
        ],
        env: { MODEL_DIR: MODEL, INTRA_OP_THREADS: String(intraOpThreads), PYTHONDONTWRITEBYTECODE: '1' },
        cwd: SERVICES,
        ready: workers,
        protocol: PREDICT,
      },
    ],
    await pythonVersions(python, ['fastapi', 'uvicorn', 'onnxruntime', 'tokenizers']),
  );
}

export async function litServe(): Promise<Contender> {
  const python = await pythonEnvironment();
  const workers = availableParallelism();
  return contender(
    [
      {
        program: python,
        args: () => ['litserve_service.py'],
        env: {
          MODEL_DIR: MODEL,
          INTRA_OP_THREADS: '1',
          WORKERS: String(workers),
          MAX_BATCH_SIZE: '16',
          BATCH_TIMEOUT: '0.01',
          PYTHONDONTWRITEBYTECODE: '1',
        },
        cwd: SERVICES,
        ready: workers,
        protocol: PREDICT,
      },
    ],
    await pythonVersions(python, ['litserve', 'fastapi', 'uvicorn', 'onnxruntime', 'tokenizers']),
  );
}

export async function transformersJs(): Promise<Contender> {
  const packages = await nodePackages();
  const processes = availableParallelism();
  const versions = ['@huggingface/transformers', 'onnxruntime-node'].map(
    (name) => `${name} ${packageVersion(packages, name)}`,
  );
  return contender(
    [
      {
        program: process.execPath,
        args: () => ['--disable-warning=ExperimentalWarning', path.join(SERVICES, 'transformers-service.ts')],
        env: { MODEL_DIR: MODEL, INTRA_OP_THREADS: '1', PROCESSES: String(processes), PACKAGES: packages },
        ready: processes,
        protocol: PREDICT,
      },
    ],
    [...versions, `hono ${packageVersion('.', 'hono')}`, `Node ${process.version}`].join(', '),
  );
}

export async function bentoMl(): Promise<Contender> {
  const python = await pythonEnvironment('peers-bentoml', 'requirements-bentoml.txt');
  return contender(
    [
      {
        program: python,
        // prettier-ignore
        args: (port) => [
          '-m', 'bentoml', 'serve', 'bentoml_service:TextClassification',
          '--host', '127.0.0.1', '--port', String(port),
        ],
        env: {
          MODEL_DIR: MODEL,
          INTRA_OP_THREADS: '1',
          WORKERS: String(availableParallelism()),
          MAX_BATCH_SIZE: '16',
          BENTOML_HOME: path.join(path.dirname(python), '..', 'home'),
          BENTOML_DO_NOT_TRACK: 'True',
          PYTHONDONTWRITEBYTECODE: '1',
        },
        cwd: SERVICES,
        ready: 0,
        protocol: BENTOML_PREDICT,
      },
    ],
    await pythonVersions(python, ['bentoml', 'onnxruntime', 'tokenizers']),
  );
}

export async function infinity(): Promise<Contender> {
  const python = await pythonEnvironment('peers-infinity', 'requirements-infinity.txt');
  return contender(
    onePerCore({
      program: path.join(path.dirname(python), 'infinity_emb'),
      // infinity gives optimum the graph's path, and optimum takes a bare name alone: so the graph is in the current folder.
      cwd: flatModel(),
      // The graph is optimised already. infinity's own warm-up has 514 tokens, which it does not truncate to the model's 512.
      // prettier-ignore
      args: (port) => [
        'v2', '--model-id', '.', '--served-model-name', 'model', '--engine', 'optimum', '--device', 'cpu', '--onnx-disable-optimize', '--no-model-warmup',
        '--host', '127.0.0.1', '--port', String(port), '--log-level', 'warning',
      ],
      env: { INFINITY_ANONYMOUS_USAGE_STATS: '0', DO_NOT_TRACK: '1', PYTHONDONTWRITEBYTECODE: '1' },
      ready: 0,
      protocol: INFINITY_CLASSIFY,
    }),
    await pythonVersions(python, ['infinity-emb', 'optimum-onnx', 'torch', 'onnxruntime', 'tokenizers']),
  );
}

export async function textEmbeddingsInference(): Promise<Contender> {
  const program = process.env.TEI_BIN;
  if (!program)
    throw new Unavailable('set TEI_BIN to a text-embeddings-router with the ONNX Runtime backend');
  const versions = await programVersion(program);
  return contender(
    onePerCore({
      program,
      // prettier-ignore
      args: (port) => [
        '--model-id', flatModel(), '--dtype', 'float32', '--auto-truncate', '--max-batch-tokens', '512',
        '--hostname', '127.0.0.1', '--port', String(port),
      ],
      // Two servers cannot share the default port of its metrics.
      env: { PROMETHEUS_PORT: '0', RUST_LOG: 'warn' },
      ready: 0,
      protocol: TEI_PREDICT,
    }),
    versions,
  );
}

/** A folder of links to the shipped model, its graph beside the rest as `model.onnx`, as some servers want it. */
function flatModel(): string {
  const folder = path.resolve('.amulet', 'peers-model', path.basename(MODEL));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(MODEL).filter((name) => name.endsWith('.json'))) {
    symlinkSync(path.join(MODEL, name), path.join(folder, name));
  }
  symlinkSync(path.join(MODEL, 'onnx', 'model_quantized.onnx'), path.join(folder, 'model.onnx'));
  return folder;
}

/** A server for each core, pinned to it: its libraries then start one thread each. */
function onePerCore(command: Command): Command[] {
  return allowedCores().map((core) => ({
    ...command,
    program: 'taskset',
    args: (port) => ['--cpu-list', String(core), command.program, ...command.args(port)],
  }));
}

/** Commands that start one server: one, or one for each process that listens on its own port. */
function contender(commands: Command[], versions: string): Contender {
  return {
    versions,
    start: async () => {
      const servers: Server[] = [];
      const stop = async () => {
        await Promise.all(servers.map((server) => server.stop()));
      };
      try {
        for (const command of commands) servers.push(await Server.start(command));
      } catch (error) {
        await stop();
        throw error;
      }
      return {
        urls: servers.map(({ url }) => url),
        protocol: commands[0]!.protocol,
        pids: () => processTree(servers.map(({ pid }) => pid)),
        stop,
      };
    },
  };
}
