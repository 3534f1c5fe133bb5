/** Reads the report of `npm audit --json`. */
import { z } from 'zod';

const reportSchema = z.object({
  metadata: z.object({ vulnerabilities: z.record(z.string(), z.number()) }),
  vulnerabilities: z.record(z.string(), z.object({ severity: z.string(), range: z.string() })),
});

const failureSchema = z.object({
  message: z.string().optional(),
  error: z.looseObject({ code: z.string().optional() }),
});

/** So bad that nothing may be released with it. */
const SERIOUS = ['high', 'critical'];

export type Audit =
  /** `serious`: those that are high or critical, a line each; `total`: of any severity. */
  | { serious: string[]; total: number }
  /** Why there is no answer: not every registry has one. */
  | { skipped: string };

/** @param output standard output; npm's exit status does not tell a vulnerability from a registry without an answer */
export function readAudit(output: string): Audit {
  const json = parse(output);
  const report = reportSchema.safeParse(json);
  if (report.success) {
    const { metadata, vulnerabilities } = report.data;
    const serious = Object.entries(vulnerabilities)
      .filter(([, { severity }]) => SERIOUS.includes(severity))
      .map(([name, { severity, range }]) => `${name} ${range}: ${severity}`);
    return { serious, total: metadata.vulnerabilities.total ?? Object.keys(vulnerabilities).length };
  }
  const failure = failureSchema.safeParse(json);
  const reason = failure.success ? (failure.data.message ?? failure.data.error.code) : undefined;
  return { skipped: withoutUrl(reason ?? 'no report') };
}

function parse(output: string): unknown {
  try {
    return JSON.parse(output);
  } catch {
    return undefined;
  }
}

/** `405 Method Not Allowed - POST https://…` → `405 Method Not Allowed` */
function withoutUrl(reason: string): string {
  return reason.replace(/(\s+-)?(\s+(GET|POST))?\s+https?:\/\/\S+/g, '').trim();
}
