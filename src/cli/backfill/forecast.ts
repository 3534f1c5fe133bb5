/** Asks the server for its model, its limits and its speed, to estimate how long a run will take. */
import { BatchClient } from '../../client/batches.ts';
import type { HttpClient } from '../../client/http.ts';
import type { Model } from '../../client/types.ts';
import { count, duration, plural, rate } from '../terminal/units.ts';
import type { Survey } from './input/survey.ts';

export interface Forecast {
  /** About the model and the limits. */
  server: string;
  /** How long the run will take, or why that is unknown. */
  time: string;
}

/** Longer than a server takes that works. */
const TIMEOUT_MS = 5000;

interface Info {
  default_model?: string;
  limits?: Record<string, number>;
}
interface Stats {
  models?: { name: string; batches: { rows: number; rows_per_second: number } }[];
}

/**
 * @param wanted model; undefined: the server's own
 * @throws AmuletError when the server does not answer
 */
export async function forecast(
  http: HttpClient,
  wanted: string | undefined,
  { rows, textBytes }: Pick<Survey, 'rows' | 'textBytes'>,
  signal: AbortSignal,
): Promise<Forecast> {
  const soon = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const get = (path: string) => http.json({ method: 'GET', path, signal: soon });
  const info = ((await get('/info')) ?? {}) as Info;
  const models = await new BatchClient(http).listModels(soon);
  const { models: loads = [] } = ((await get('/v1/stats')) ?? {}) as Stats;
  const name = wanted ?? info.default_model ?? '';
  const model = models.find((known) => known.name === name);
  const chars = info.limits?.max_text_chars;
  const limit = chars === undefined ? '' : `; texts of up to ${count(chars)} characters`;
  if (!model)
    return { server: `has no model ${name}${limit}`, time: 'unknown: no worker has served the model' };
  const server = `${name}, ${plural(model.workers, 'worker')}, labels ${model.labels.slice(0, 5).join(', ')}${model.labels.length > 5 ? ', …' : ''}; reads ${plural(model.max_tokens, 'token')} of a text${limit}`;
  const load = loads.find((each) => each.name === name)?.batches;
  return { server, time: timeOf(model, load, rows, textBytes) };
}

function timeOf(
  { workers, chunk_bytes: chunkBytes, model_processes: processes }: Model,
  load: { rows: number; rows_per_second: number } | undefined,
  rows: number | undefined,
  textBytes: number | undefined,
): string {
  if (workers === 0) return 'unknown: no worker serves the model';
  if (rows === undefined) return 'unknown: the number of rows is';
  if (load && load.rows_per_second > 0) {
    const seconds = (load.rows + rows) / load.rows_per_second;
    const others = load.rows > 0 ? `, after ${plural(load.rows, 'row')} of other batches` : '';
    return `about ${duration(seconds)} at the present ${rate(load.rows_per_second)}${others}`;
  }
  if (chunkBytes === undefined || processes === undefined || textBytes === undefined)
    return 'unknown: the server does not say how fast it is';
  const seconds = textBytes / (chunkBytes * processes * workers);
  const speed = seconds < 1 ? '' : ` (${rate(rows / seconds)})`;
  return `roughly ${duration(Math.max(1, seconds))}${speed}, by the speed that ${workers === 1 ? 'its worker' : 'its workers'} measured at the start`;
}
