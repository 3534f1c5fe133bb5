/**
 * Reads small ranges of a remote file before they are asked for, neighbours in one request. A column of Parquet in many small row groups
 * would otherwise cost a round trip for each of them.
 */
type Slice = (start: number, end: number) => Promise<Uint8Array>;

export interface PlannedRange {
  start: number;
  end: number;
}

/** Bytes between two ranges that are read along, since another request would take longer. */
const GAP_BYTES = 128 * 1024;
/** Ranges are joined in one request up to this size; a larger one is read as it is asked for. */
const REQUEST_BYTES = 4 * 1024 * 1024;
/** Requested or received, and not yet asked for. */
const AHEAD_BYTES = 16 * 1024 * 1024;
/** Requests that are kept once a later one is asked for: the columns of a row group are read in turns. */
const KEPT_REQUESTS = 4;

/**
 * @param groups ranges in the order in which they will be asked for; those of one group are asked for in turns
 * @returns a function that reads any range, those of the plan without waiting
 */
export function readAhead(slice: Slice, groups: readonly (readonly PlannedRange[])[]): Slice {
  const requests = requestsOf(groups);
  const running = new Map<number, Promise<Uint8Array>>();
  const begin = (i: number, { start, end }: PlannedRange): Promise<Uint8Array> => {
    const begun = running.get(i);
    if (begun) return begun;
    const bytes = slice(start, end);
    // Reported to whoever asks for it.
    bytes.catch(() => {});
    running.set(i, bytes);
    return bytes;
  };
  let latest = 0;
  return async (start, end) => {
    const holds = (request: PlannedRange) => request.start <= start && end <= request.end;
    const nearby = requests
      .slice(Math.max(0, latest - KEPT_REQUESTS), latest + KEPT_REQUESTS)
      .findIndex(holds);
    const at = nearby === -1 ? requests.findIndex(holds) : nearby + Math.max(0, latest - KEPT_REQUESTS);
    const request = requests[at];
    if (!request) return slice(start, end);
    latest = Math.max(latest, at);
    for (const earlier of running.keys()) if (earlier < latest - KEPT_REQUESTS) running.delete(earlier);
    const bytes = begin(at, request);
    let ahead = 0;
    for (let i = at + 1; i < requests.length; i++) {
      const next = requests[i] as PlannedRange;
      ahead += next.end - next.start;
      if (ahead > AHEAD_BYTES) break;
      void begin(i, next);
    }
    return (await bytes).subarray(start - request.start, end - request.start);
  };
}

function requestsOf(groups: readonly (readonly PlannedRange[])[]): PlannedRange[] {
  const requests: PlannedRange[] = [];
  for (const group of groups) {
    const small = group.filter(({ start, end }) => end - start <= REQUEST_BYTES);
    for (const { start, end } of small.toSorted((a, b) => a.start - b.start)) {
      const last = requests.at(-1);
      const isNear = last !== undefined && start >= last.start && start - last.end <= GAP_BYTES;
      if (isNear && end - last.start <= REQUEST_BYTES) last.end = Math.max(end, last.end);
      else requests.push({ start, end });
    }
  }
  return requests;
}
