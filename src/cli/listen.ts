/** `amulet listen`: a webhook receiver for development. Verifies, prints and answers each webhook; stores nothing. */
import { commandName } from '../shared/runtime/environment.ts';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Webhook } from 'standardwebhooks';
import type { WebhookEvent } from '../shared/contract/webhook-events.ts';
import { toError } from '../shared/runtime/to-error.ts';
import { printable } from '../shared/runtime/printable.ts';
import { isSecret } from '../shared/runtime/webhook-secret.ts';
import { systemReason } from './terminal/disk.ts';
import { parseFlags } from './terminal/arguments.ts';
import { CliError, EXIT, UsageError, type ExitCode } from './terminal/exit.ts';
import { shellWord } from './terminal/units.ts';

export interface ListenCommand {
  port: number;
  /** Undefined: the secret that `npm start` wrote in this folder. */
  secret: string | undefined;
  /** Status of the answer to a verified webhook. */
  status: number;
  /** Print whole bodies, one per line. */
  json: boolean;
}

const DEFAULT_PORT = 9000;
/** Location of the launcher's secret with the default DATA_DIR. */
const SECRET_FILE = path.join('.amulet', 'webhook-secret');
/** Events are smaller than this. */
const MAX_BODY_BYTES = 1024 * 1024;

type JobData = Exclude<WebhookEvent['data'], { rows: unknown }>;

const FLAGS = {
  port: { type: 'string', short: 'p' },
  secret: { type: 'string' },
  status: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** @param args those after `listen` */
export function parseListen(args: readonly string[]): ListenCommand | 'help' {
  const { values, positionals } = parseFlags(`${commandName()} listen --help`, args, FLAGS);
  if (values.help === true) return 'help';
  if (positionals.length > 0)
    throw new UsageError(`unknown argument ${positionals.map(shellWord).join(' ')}`);
  const { secret, json = false } = values;
  if (secret !== undefined && !isSecret(secret))
    throw new UsageError('--secret must be whsec_ followed by base64');
  return {
    port: number('port', values.port, DEFAULT_PORT, 0, 65_535),
    secret,
    status: number('status', values.status, 204, 200, 599),
    json,
  };
}

function number(name: string, text: string | undefined, fallback: number, min: number, max: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`--${name} ${shellWord(text)}: must be a number from ${min} to ${max}`);
}

/**
 * Listens until the signal fires.
 * @param print an event, to standard output
 * @param printError anything else, to standard error
 * @throws CliError
 */
export async function receiveWebhooks(
  { port, secret, status, json }: ListenCommand,
  signal: AbortSignal,
  print: (line: string) => void,
  printError: (line: string) => void,
): Promise<ExitCode> {
  const webhook = new Webhook(secret ?? ownSecret());
  const seen = new Set<string>();
  const onEvent = (body: Buffer, headers: IncomingMessage['headers']): number => {
    const id = String(headers['webhook-id']);
    let event: WebhookEvent;
    try {
      event = webhook.verify(body, headers as Record<string, string>) as WebhookEvent;
    } catch (error) {
      printError(`${time()}  not verified: ${toError(error).message}`);
      return 400;
    }
    print(json ? body.toString() : describe(event, id, seen.has(id)));
    seen.add(id);
    return status;
  };
  const server = createServer((request, response) => receive(request, response, onEvent));
  await start(server, port);
  const { port: actual } = server.address() as AddressInfo;
  printError(
    `Listening on http://127.0.0.1:${actual}/, answering with ${status}. To let a server on this machine deliver here:`,
  );
  printError(`  WEBHOOK_SCHEMES=http WEBHOOK_ALLOW=127.0.0.1:${actual} npm start`);
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  server.close();
  server.closeAllConnections();
  return EXIT.ok;
}

function ownSecret(): string {
  try {
    return readFileSync(SECRET_FILE, 'utf8').trim();
  } catch {
    throw new UsageError(`missing --secret: this folder has no ${SECRET_FILE} (npm start writes one)`);
  }
}

function start(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === 'EADDRINUSE' ? 'is in use' : `cannot be opened: ${systemReason(error.message)}`;
      reject(new CliError(EXIT.failed, `port ${port} ${reason}; choose another with --port`));
    });
    server.listen(port, '127.0.0.1', resolve);
  });
}

function receive(
  request: IncomingMessage,
  response: ServerResponse,
  onEvent: (body: Buffer, headers: IncomingMessage['headers']) => number,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= MAX_BODY_BYTES) chunks.push(chunk);
  });
  request.on('end', () => {
    const answer =
      request.method !== 'POST'
        ? 405
        : bytes > MAX_BODY_BYTES
          ? 413
          : onEvent(Buffer.concat(chunks), request.headers);
    response.writeHead(answer).end();
  });
}

/** One line: time, event type, id of the job or batch, outcome, id of the delivery. */
function describe({ type, data, ...event }: WebhookEvent, id: string, repeated: boolean): string {
  const outcome =
    'rows' in data ? `${data.rows.finished} rows, ${data.rows.failed} errors` : results(data, event.thin);
  return printable([time(), type, data.id, outcome, id, repeated ? '(again)' : ''].join('  ').trimEnd());
}

function results({ results: rows, error }: JobData, thin: boolean): string {
  if (thin) return 'thin event: fetch the results';
  if (error) return error.code;
  const [first, ...others] = rows ?? [];
  if (!first) return 'no results';
  const shown = 'error' in first ? first.error.code : `${first.label} ${first.score.toFixed(3)}`;
  return others.length === 0 ? shown : `${shown} and ${others.length} more`;
}

const time = (): string => new Date().toTimeString().slice(0, 8);
