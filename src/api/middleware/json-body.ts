/**
 * JSON bodies: checks size, presence, media type, UTF-8, number of values, nesting, syntax, repeated names and numbers that would
 * change, each with its own error, before a schema sees the body. Invalid UTF-8 is refused, because a lenient decoder would change
 * the text.
 */
import type { Context } from 'hono';
import { createMiddleware } from 'hono/factory';
import type { Config } from '../../shared/runtime/config.ts';
import { AppError } from '../../shared/contract/problems.ts';
import { toError } from '../../shared/runtime/to-error.ts';
import { scanJson, type JsonFault } from '../../shared/contract/json-scan.ts';
import type { JsonBodyLimits } from '../load/body-limits.ts';
import type { AppEnv } from '../env.ts';
import { ownTurn } from '../load/own-turn.ts';
import { requireUtf8 } from './charset.ts';
import { invalidRequest } from './problems.ts';
import { readBody } from './read-body.ts';

const JSON_TYPE = /^application\/(?:[a-z0-9.!#$&^_-]+\+)?json\s*(?:;|$)/i;
/** Larger bodies get a separate turn of the event loop: reading, parsing and validating take some 5 ms of CPU a MB. */
const LARGE_BYTES = 100_000;
/** Longest number. A double can have up to 1,077 digits after the point, but no client writes them. */
const MAX_NUMBER_CHARS = 1000;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Larger bodies are refused before they are read, or as soon as they have grown past the limit. */
export function jsonBody(config: Config, limits: JsonBodyLimits) {
  const { maxBytes } = limits;
  const tooLarge = () => new AppError('body_too_large', `the body has more than ${maxBytes} bytes`);
  return createMiddleware<AppEnv>(async (c, next) => {
    // Held until the response: while the request waits for a result, its parsed body is in memory.
    const lease = c.get('inFlight').bodyBytes.acquire(c.get('owner'));
    try {
      const bytes = await readBody(c, { maxBytes, tooLarge, timeoutS: config.BODY_TIMEOUT_S, lease });
      requireJson(bytes, c);
      if (bytes.length > LARGE_BYTES) await ownTurn();
      c.set('body', parse(bytes, config, limits));
      await next();
    } finally {
      lease.release();
    }
  });
}

/** @throws AppError `empty_body`, `unsupported_media_type` */
function requireJson(bytes: Uint8Array, c: Context<AppEnv>): void {
  if (bytes.length === 0)
    throw new AppError('empty_body', 'send a JSON body such as {"text": "what a lovely film"}');
  const type = c.req.header('content-type');
  if (type === undefined || !JSON_TYPE.test(type)) {
    throw new AppError(
      'unsupported_media_type',
      `send Content-Type: application/json${type === undefined ? '; it is missing' : `, not ${type}`}`,
    );
  }
  requireUtf8(type);
  const encoding = c.req.header('content-encoding');
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new AppError(
      'unsupported_media_type',
      `Content-Encoding: ${encoding} is not supported; send plain JSON`,
    );
  }
}

function parse(bytes: Uint8Array, { MAX_METADATA_DEPTH }: Config, limits: JsonBodyLimits): unknown {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new AppError('malformed_json', 'the body is not valid UTF-8');
  }
  // Metadata, one level below the body, is the only part of any shape, and the only part that is returned to callers.
  const { excess, losses } = scanJson(text, {
    ...limits,
    maxNumberChars: MAX_NUMBER_CHARS,
    maxDepth: MAX_METADATA_DEPTH + 1,
    shownDepth: MAX_METADATA_DEPTH,
    keeps: 'metadata',
  });
  if (excess) throw refusal([excess]);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // V8's message quotes the input; the position is enough, and keeps texts out of logs.
    const { message } = toError(error);
    const where = /at position \d+(?: \(line \d+ column \d+\))?/.exec(message)?.[0];
    const what = message.includes('end of JSON') ? ': it ends too early' : where ? ` ${where}` : '';
    throw new AppError('malformed_json', `the body is not valid JSON${what}`);
  }
  if (losses.length > 0) throw refusal(losses);
  return value;
}

const refusal = (faults: readonly JsonFault[]): AppError =>
  invalidRequest(faults.map(({ path, message }) => ({ path: path.join('.'), message })));
