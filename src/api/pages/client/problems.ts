/** Errors of requests, and their explanations for the person at the page. */
import type { z } from 'zod';
import type { problemSchema } from '../../../shared/contract/responses.ts';
import { create } from './dom.ts';
import { capitalized, clock } from './format.ts';

type Problem = z.infer<typeof problemSchema>;

/** A response with a status of 400 or more. */
export class ApiProblem extends Error {
  override name = 'ApiProblem';
  readonly status: number;
  readonly problem: Partial<Problem>;
  /** Earliest time of another try, in Unix ms. */
  readonly retryAt: number | undefined;

  /** @param retryAfter the header, in seconds */
  constructor(status: number, problem: Partial<Problem>, retryAfter: string | null) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.status = status;
    this.problem = problem;
    if (retryAfter !== null) this.retryAt = Date.now() + Number(retryAfter) * 1000;
  }
}

/** No response, or an interrupted one. */
export class Unreachable extends Error {
  override name = 'Unreachable';
}

/** Reads the problem in a response of the server, or of a proxy in front of it. */
export function parseProblem(status: number, body: string, retryAfter: string | null): ApiProblem {
  try {
    return new ApiProblem(status, JSON.parse(body) as Partial<Problem>, retryAfter);
  } catch {
    return new ApiProblem(status, { title: `The server answered ${status}` }, retryAfter);
  }
}

const RETRY_MS = 3000;
const UNAVAILABLE = [429, 502, 503, 504];

/** Milliseconds until another try may work; undefined when a retry is useless. */
export function retryDelay(error: unknown): number | undefined {
  if (error instanceof Unreachable) return RETRY_MS;
  if (!(error instanceof ApiProblem) || !UNAVAILABLE.includes(error.status)) return undefined;
  return error.retryAt === undefined ? RETRY_MS : Math.max(error.retryAt - Date.now(), 1000);
}

export interface Explanation {
  title: string;
  lines: string[];
}

export function explain(error: unknown): Explanation {
  if (error instanceof Unreachable) {
    return {
      title: 'The API cannot be reached',
      lines: ['The network is down, or the server is not running. Nothing on this page is lost.'],
    };
  }
  if (!(error instanceof ApiProblem)) return { title: 'Something went wrong', lines: [String(error)] };
  const { title, detail, errors, request_id: request } = error.problem;
  const lines =
    errors && errors.length > 0
      ? errors.map(({ path, message }) => (path === '' ? message : `${path} ${message}`))
      : [detail ?? ''];
  if (error.retryAt !== undefined) lines.push(`Try again at ${clock(error.retryAt)}.`);
  if (error.status >= 500 && request !== undefined) lines.push(`Request ${request}`);
  return {
    title: title ?? `The server answered ${error.status}`,
    lines: lines.filter((line) => line !== '').map(capitalized),
  };
}

/** Shows an explanation, which screen readers read once; undefined removes the previous one. */
export function showProblem(where: HTMLElement, explanation: Explanation | undefined): void {
  const shown = where.hidden ? undefined : where.textContent;
  if (shown === (explanation && explanation.title + explanation.lines.join(''))) return;
  where.replaceChildren();
  where.hidden = explanation === undefined;
  if (!explanation) return;
  where.append(
    create('strong', { text: explanation.title }),
    ...explanation.lines.map((line) => create('p', { text: line })),
  );
}
