/** Response headers of `/predict` and `/hf` for what their bodies, whose shapes are given by other services, have no room for. */
import type { Context } from 'hono';
import type { Job } from '../../shared/contract/jobs.ts';
import type { AppEnv } from '../env.ts';
import { setHeader } from '../middleware/response-headers.ts';

const TRUNCATED = 'Amulet-Truncated';
const UNKNOWN = 'Amulet-Unknown';

/**
 * Most texts that get a value each. Both lists then take 1 KB at most, of the 4 KB of response headers that nginx accepts by
 * default.
 */
const MAX_LISTED = 64;

const SEVERAL = `With several texts, their values in order, separated by commas; with more than ${MAX_LISTED},`;

/** The headers in the OpenAPI document. */
export const RESULT_HEADERS = {
  [TRUNCATED]: {
    description: `\`true\` or \`false\`: whether the text had more tokens than the model reads, and the rest was cut. ${SEVERAL} whether any was cut.`,
    schema: { type: 'string' as const },
    example: 'false',
  },
  [UNKNOWN]: {
    description: `Share of the text's tokens that the model cannot read, from 0 to 1. ${SEVERAL} the largest share.`,
    schema: { type: 'string' as const },
    example: '0.25',
  },
};

/** Sets the headers from the results of a job that has labels for all of its texts. */
export function setResultHeaders(c: Context<AppEnv>, { results }: Job): void {
  const rows = results?.flatMap((row) => ('error' in row ? [] : [row])) ?? [];
  const truncated = rows.map((row) => row.truncated);
  const unknown = rows.map((row) => row.unknown ?? 0);
  const listed = rows.length <= MAX_LISTED;
  setHeader(c, TRUNCATED, listed ? truncated.join(', ') : String(truncated.includes(true)));
  setHeader(c, UNKNOWN, listed ? unknown.join(', ') : String(unknown.reduce((a, b) => Math.max(a, b), 0)));
}
